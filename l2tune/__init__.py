"""How strongly should this network be regularized, and how sure are we?"""

__version__ = "0.1.0"
