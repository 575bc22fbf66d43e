"""How well labels agree with the truth; knows nothing of networks or training."""

from .comparison import ClassScores, EvaluationSettings, LabelPair, compare
from .differences import difference_map
from .lengths import Spacing
from .run import Evaluation, evaluate
from .scores import dice, object_f1
from .tables import ClassMeans, write_scores

__all__ = [
    "ClassMeans",
    "ClassScores",
    "Evaluation",
    "EvaluationSettings",
    "LabelPair",
    "Spacing",
    "compare",
    "dice",
    "difference_map",
    "evaluate",
    "object_f1",
    "write_scores",
]
