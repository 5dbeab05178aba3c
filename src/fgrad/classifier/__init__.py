"""A classifier of images, start to finish: a run that is saved as it goes, and its judgement."""

from fgrad.classifier.datasets import DEFAULTS, Defaults, load_dataset
from fgrad.classifier.display import display
from fgrad.classifier.epoch import Augment, batches, begin, make_advance, make_evaluate, place
from fgrad.classifier.evaluation import accuracy, confusion, precision, recall
from fgrad.classifier.fit import Pace, fit
from fgrad.classifier.nets import NAMES, Net, net
from fgrad.classifier.pictures import Prepared, light_on_dark, prepare, tempered
from fgrad.classifier.run import Run
from fgrad.classifier.verdict import Verdict, judge
from fgrad.classifier.writing import Writing, find_writing

__all__ = [
    "DEFAULTS",
    "NAMES",
    "Augment",
    "Defaults",
    "Net",
    "Pace",
    "Prepared",
    "Run",
    "Verdict",
    "Writing",
    "accuracy",
    "batches",
    "begin",
    "confusion",
    "display",
    "find_writing",
    "fit",
    "judge",
    "light_on_dark",
    "load_dataset",
    "make_advance",
    "make_evaluate",
    "net",
    "place",
    "precision",
    "prepare",
    "recall",
    "tempered",
]
