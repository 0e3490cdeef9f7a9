"""For scikit-learn's users: `RegularizationSearchCV`, at home beside GridSearchCV."""

from l2tune.sklearn.search_cv import RegularizationSearchCV

__all__ = ["RegularizationSearchCV"]
