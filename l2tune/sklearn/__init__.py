"""For scikit-learn's users: `RegularizationSearchCV`, at home beside GridSearchCV, and `CNNClassifier`."""

from l2tune.sklearn.cnn_classifier import CNNClassifier
from l2tune.sklearn.search_cv import RegularizationSearchCV

__all__ = ["CNNClassifier", "RegularizationSearchCV"]
