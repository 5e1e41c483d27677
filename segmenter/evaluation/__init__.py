"""How good the masks of a data set are: a folder in VOC layout in, a report out."""
