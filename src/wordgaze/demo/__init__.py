"""The demo page: a photo in, its captions and the maps of their words out, for this machine only."""

from wordgaze.demo.page import build, check_gradio, explain_upload
from wordgaze.demo.server import launch, serve

__all__ = ["build", "check_gradio", "explain_upload", "launch", "serve"]
