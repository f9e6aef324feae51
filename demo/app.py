"""The demo page, for `python demo/app.py` and for a hosted Space; `wordgaze demo`, with a photo to begin with."""

from pathlib import Path

from wordgaze.demo import launch

if __name__ == "__main__":
    launch(examples=[Path(__file__).with_name("cat.jpg")])
