"""What the benchmark measures, and on what; no test looks at the time that something takes."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
import torch
from PIL import Image
from tests.model_folder import make_parts

from wordgaze.captioner import Captioner
from wordgaze.errors import ConfigError
from wordgaze.generation.options import GenerationOptions
from wordgaze.model.config import DecoderConfig
from wordgaze.model.decoder import Decoder
from wordgaze.tasks import bench_clock
from wordgaze.tasks.bench import Bench, BenchOptions, PhaseRow, amdahl, photos_of_whole
from wordgaze.tasks.bench_clock import Rounds, peak_memory, take_turns
from wordgaze.tasks.bench_decoders import transformers_decoder
from wordgaze.tasks.bench_models import SHAPES, photos_to_bench, random_parts
from wordgaze.text.tokenizer import SpecialIds

QUICK = BenchOptions(batch_sizes=(1, 3), num_beams=(1, 2), words=5, rounds=2)


@pytest.fixture(scope="module")
def values(tmp_path_factory):
    """Return what a benchmark of a small model gives."""
    photos = photos_to_bench(None, QUICK.most_photos(), tmp_path_factory.mktemp("photos"))
    return Bench("small", Captioner(make_parts(), "cpu"), photos, QUICK).measure(lambda _: None, lambda _: None)


def test_there_is_one_row_for_each_batch_beam_and_phase(values):
    cells = [(row.batch, row.num_beams, row.phase) for row in values.rows]
    assert cells == list(itertools.product((1, 3), (1, 2), ("open", "preprocess", "encode", "generate")))
    assert {(row.model, row.device, row.precision) for row in values.rows} == {("small", "cpu", "float32")}
    for row in values.rows:
        assert row.seconds > 0 and row.captions_per_second == pytest.approx(row.batch / row.seconds)


def test_only_generation_has_a_partner_and_both_write_the_same_captions(values):
    pytest.importorskip("transformers")
    for row in values.rows:
        if row.phase == "generate":
            assert row.ratio_low <= row.ratio <= row.ratio_high
            assert row.same_captions == row.batch
        else:
            assert (row.ratio, row.ratio_low, row.ratio_high, row.same_captions) == (None,) * 4


def test_whole_captioning_is_compared_with_encoding_alone(values):
    assert [(row.batch, row.num_beams, row.photos) for row in values.whole] == [
        *((1, 1, 4), (1, 2, 4)),
        *((3, 1, 12), (3, 2, 12)),
    ]
    for row in values.whole:
        assert row.captions_per_second == pytest.approx(row.photos / row.seconds)
        assert row.over_low <= row.over_plain_encoding <= row.over_high


def test_the_values_are_json(values):
    read = json.loads(json.dumps(values.to_dict()))
    assert list(read) == ["rows", "whole", "machine", "settings"]
    schema = {"model", "device", "batch", "num_beams", "phase", "seconds", "captions_per_second", "ratio", "peak_bytes"}
    assert all(schema <= set(row) for row in read["rows"])
    settings = {"batch_sizes": [1, 3], "num_beams": [1, 2], "words": 5, "rounds": 2, "generation_only": False}
    assert read["settings"] == settings
    assert read["machine"]["threads"] == torch.get_num_threads()
    assert read["machine"]["torch"] and read["machine"]["processor"]


def test_without_transformers_there_is_no_ratio(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "transformers", None)
    options = BenchOptions((1,), (1,), words=3, rounds=1)
    photos = photos_to_bench(None, options.most_photos(), tmp_path)
    values = Bench("small", Captioner(make_parts(), "cpu"), photos, options).measure(lambda _: None, lambda _: None)
    assert values.rows[-1].ratio is None and values.rows[-1].same_captions is None
    assert values.whole[0].amdahl_limit is None


def test_generation_alone_needs_no_photos():
    options = BenchOptions((2,), (1, 2), words=3, rounds=1, generation_only=True)
    values = Bench("small", Captioner(make_parts(), "cpu"), [], options).measure(lambda _: None, lambda _: None)
    assert [(row.num_beams, row.phase) for row in values.rows] == [(1, "generate"), (2, "generate")]
    assert values.whole == []


def test_captions_longer_than_the_model_reads_are_refused():
    with pytest.raises(ConfigError, match="at most 24"):
        Bench("small", Captioner(make_parts(), "cpu"), [], BenchOptions(words=25))


def test_amdahl_s_limit_is_what_no_generation_would_make_of_the_whole():
    shared = {"model": "m", "device": "cpu", "precision": "float32", "batch": 1, "num_beams": 1}
    seconds = {"open": 1.0, "preprocess": 2.0, "encode": 3.0}
    rows = [PhaseRow(**shared, phase=phase, seconds=took, captions_per_second=1) for phase, took in seconds.items()]
    generation = PhaseRow(**shared, phase="generate", seconds=2.0, captions_per_second=1, ratio=3.0)
    assert amdahl([*rows, generation]) == (12 / 6, 12 / 8)


@pytest.mark.parametrize(("batch", "photos"), [(1, 4), (8, 32), (32, 32), (100, 100)])
def test_a_run_of_whole_captioning_has_several_batches(batch, photos):
    assert photos_of_whole(batch) == photos


def test_the_ratio_is_the_median_of_the_rounds():
    rounds = Rounds((1.0, 2.0, 4.0), (3.0, 4.0, 20.0))
    assert (rounds.seconds, rounds.their_seconds, rounds.ratio, rounds.spread) == (2.0, 4.0, 3.0, (2.0, 5.0))
    alone = Rounds((1.0,))
    assert (alone.seconds, alone.their_seconds, alone.ratio, alone.spread) == (1.0, None, None, None)


def test_both_take_turns_and_patience_ends_after_three_rounds(monkeypatch):
    now, calls = iter(range(10**6)), []
    monkeypatch.setattr(bench_clock.time, "perf_counter", lambda: 10.0 * next(now))
    rounds = take_turns(lambda: calls.append("ours"), lambda: calls.append("theirs"), rounds=9)
    assert calls == ["ours", "theirs"] * 3
    assert rounds == Rounds((10.0,) * 3, (10.0,) * 3)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux tells")
def test_peak_memory_sees_what_is_freed_again_and_forgets_earlier_peaks():
    size = 200 * 2**20

    def take(count):
        torch.ones(count, dtype=torch.uint8)

    peak, _ = peak_memory("cpu", lambda: take(size))
    before, result = peak_memory("cpu", lambda: 7)
    assert result == 7
    assert 0.9 * size < peak - before < 1.2 * size


def test_where_the_system_can_t_tell_there_is_no_peak(monkeypatch, tmp_path):
    monkeypatch.setattr(bench_clock, "_CLEAR", tmp_path / "missing" / "clear_refs")
    assert peak_memory("cpu", lambda: 7) == (None, 7)


OTHERS = [
    DecoderConfig(50, 48, 2, 4, embedding_norm=True),
    DecoderConfig(50, 48, 2, 4, source_width=32),
    DecoderConfig(50, 48, 2, 4, norm="post", embedding_norm=True, head="bert", head_activation="relu"),
]


@pytest.mark.parametrize("config", OTHERS, ids=["embedding_norm", "source_width", "head_activation"])
def test_a_shape_that_transformers_lacks_has_no_partner(config):
    pytest.importorskip("transformers")
    assert transformers_decoder(Decoder(config), SpecialIds(1, 2, 0)) is None


BLIP = DecoderConfig(
    **{"vocab_size": 50, "width": 48, "layers": 2, "heads": 4, "positions": 20, "norm": "post", "norm_eps": 1e-12},
    **{"activation": "gelu", "embedding_norm": True, "head": "bert", "source_width": 32, "mlp_width": 100},
)


@pytest.mark.parametrize("config", [DecoderConfig(50, 48, 2, 4, positions=20, activation="relu"), BLIP])
def test_the_partner_computes_the_same_logits(config):
    pytest.importorskip("transformers")
    torch.manual_seed(0)
    decoder = Decoder(config).eval()
    for parameter in decoder.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    partner = transformers_decoder(decoder, SpecialIds(1, 2, 0))
    states, input_ids = torch.randn(3, 7, config.states_width), torch.randint(50, (3, 9))
    with torch.no_grad():
        ours = decoder(input_ids, decoder.start(states)).logits
        theirs = partner.model(input_ids=input_ids, encoder_hidden_states=states).logits
    assert torch.allclose(ours, theirs, atol=1e-5)
    rows = partner.generate(states, GenerationOptions(num_beams=2, max_length=6, no_repeat_ngram_size=0))
    assert all(row[0] == 1 and 2 not in row[1:-1] for row in rows)


def test_the_shapes_are_those_of_transformers():
    """By its defaults, which are those of the published models."""
    transformers = pytest.importorskip("transformers")
    from transformers.models.blip.modeling_blip_text import BlipTextLMHeadModel

    with torch.device("meta"):
        ours = {name: Decoder(config.decoder) for name, config in SHAPES.items()}
        theirs = {
            "gpt2-shape": transformers.GPT2LMHeadModel(transformers.GPT2Config(add_cross_attention=True)),
            "blip-shape": BlipTextLMHeadModel(transformers.BlipTextConfig()),
        }
    sizes = [{name: sum(each.numel() for each in of[name].parameters()) for name in SHAPES} for of in (ours, theirs)]
    assert sizes[0] == sizes[1]


def test_a_random_model_captions_with_invented_words():
    config = make_parts().model.config
    captioner = Captioner(random_parts(config), "cpu")
    caption = captioner.caption(Image.new("RGB", (64, 48), "red"), min_length=4, max_length=4)
    assert all(word.startswith("word") for word in caption.text.split())
    assert len(caption.text.split()) in (3, 4)


def test_the_photos_are_those_of_the_folder_again_and_again(photos):
    found = photos_to_bench(str(photos[0].parent), 8, Path("unused"))
    assert found == [*photos, *photos[:2]]


def test_a_folder_without_photos_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="There are no photos"):
        photos_to_bench(str(tmp_path), 1, tmp_path)


def test_the_cut_outs_differ_and_are_the_same_each_time(tmp_path):
    (tmp_path / "again").mkdir()
    first, again = photos_to_bench(None, 3, tmp_path), photos_to_bench(None, 3, tmp_path / "again")
    contents = [path.read_bytes() for path in first]
    assert len(set(contents)) == 3
    assert contents == [path.read_bytes() for path in again]
    assert {Image.open(path).size for path in first} == {(640, 480)}
