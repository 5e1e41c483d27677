"""Diffusion models and how their attention is read."""
