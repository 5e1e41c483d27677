"""A stand-in for label-studio-ml 2.x, which no package index has.

As much of HumanSignal/label-studio-ml-backend as a model meets: `model.py` mirrors
commit 010cc2ab1da0ca1e30874e97d13a7c4cda42de92, `api.py` mirrors commit
5c12977fc02cee9b47b5f7a7a50c496f5ca61c73. The release on PyPI, 1.0.9, is not stood in
for: tests/e2e/test_label_studio_ml.py runs it.
"""
