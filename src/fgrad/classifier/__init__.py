"""A classifier of images, start to finish: a run that is saved as it goes, and its judgement."""

from fgrad.classifier.epoch import batches, begin, make_advance, make_evaluate, place
from fgrad.classifier.evaluation import accuracy, confusion, precision, recall
from fgrad.classifier.fit import Pace, fit
from fgrad.classifier.nets import NAMES, Net, net
from fgrad.classifier.run import Run
from fgrad.classifier.verdict import Verdict, judge

__all__ = [
    "NAMES",
    "Net",
    "Pace",
    "Run",
    "Verdict",
    "accuracy",
    "batches",
    "begin",
    "confusion",
    "fit",
    "judge",
    "make_advance",
    "make_evaluate",
    "net",
    "place",
    "precision",
    "recall",
]
