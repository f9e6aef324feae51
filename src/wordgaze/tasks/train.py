"""``wordgaze train``: a config as it is written, and the run that it describes."""

from wordgaze.training.config_file import describe, parse_config
from wordgaze.training.run import TrainingResult, train

__all__ = ["TrainingResult", "describe", "parse_config", "train"]
