"""The demo page, for `python demo/app.py` and for a hosted Space: the same as `wordgaze demo`."""

from wordgaze.demo import launch

if __name__ == "__main__":
    launch()
