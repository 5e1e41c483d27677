"""Stable Diffusion's U-Nets."""
