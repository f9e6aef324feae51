"""COCO from a server on this machine: whole, in part, resumed, and where photos or the network fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from tests import coco_server
from tests.coco_server import CocoServer, break_off, jpeg, make_coco, serving, status, trickle

from wordgaze.cli.main import main
from wordgaze.data.captions import read_captions
from wordgaze.data.download.coco import LICENSE, choose_photos, read_archive
from wordgaze.data.download.fetch import FetchOptions
from wordgaze.data.photos import open_photo
from wordgaze.errors import ConfigError, DataError
from wordgaze.tasks import data_coco
from wordgaze.tasks.data_coco import CocoDownload, CocoDownloader, CocoOptions

QUICK = FetchOptions(attempts=3, timeout=0.5, first_wait=0.01, most_wait=0.05)


@pytest.fixture
def server() -> Iterator[CocoServer]:
    with serving() as server:
        make_coco(server)
        yield server


def options(server: CocoServer, **others: Any) -> CocoOptions:
    urls = {"captions_url": f"{server.url}/caption_datasets.zip", "photos_url": server.url}
    return CocoOptions(**({"fetch": QUICK, "workers": 4} | urls | others))


def download(server: CocoServer, out: Path, **others: Any) -> CocoDownload:
    return CocoDownloader(str(out), options(server, **others)).download()


def photos_of(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder / "photos").as_posix() for path in (folder / "photos").rglob("*.*"))


def check_whole(server: CocoServer, folder: Path, photos: list[str]) -> None:
    assert photos_of(folder) == sorted(photos)
    for name in photos:
        assert (folder / "photos" / name).read_bytes() == server.files[f"/{name}"]


def test_all_of_it(server: CocoServer, tmp_path: Path) -> None:
    result = download(server, tmp_path / "coco")
    check_whole(server, tmp_path / "coco", [name.lstrip("/") for name in server.files if name.endswith(".jpg")])
    assert result == CocoDownload(
        tmp_path / "coco/dataset_coco.json", {"train": (8, 40), "val": (3, 15), "test": (3, 15)}, {}, 0
    )
    captions = read_captions(result.captions, split="train", check_files=True)
    assert len(captions) == 8 and captions.splits == ("restval", "test", "train", "val")
    assert (tmp_path / "coco/LICENSE.txt").read_text() == f"{LICENSE}\n"


def test_only_the_photos_of_a_split_are_fetched(server: CocoServer, tmp_path: Path) -> None:
    result = download(server, tmp_path, splits=("val",))
    assert len(server.requests) == 4 and result.counts == {"val": (3, 15)}
    assert {image["split"] for image in json.loads(result.captions.read_text())["images"]} == {"val"}


def test_a_subset_is_drawn_by_its_seed_and_a_smaller_one_is_a_part(server: CocoServer, tmp_path: Path) -> None:
    names = {}
    for subset, seed in ((1, 0), (2, 0), (2, 1)):
        download(server, tmp_path / f"{subset}-{seed}", subset=subset, seed=seed)
        names[subset, seed] = set(photos_of(tmp_path / f"{subset}-{seed}"))
    assert len(names[2, 0]) == 6 and names[1, 0] < names[2, 0] != names[2, 1]


def test_the_draw_does_not_depend_on_the_order_of_the_file() -> None:
    images = [{"cocoid": number, "split": "train"} for number in range(50)]
    drawn = choose_photos({"images": images}, ("train",), 5, 7)
    assert drawn == choose_photos({"images": images[::-1]}, ("train",), 5, 7)
    # What this seed gives must stay: sets are compared by it.
    assert [image["cocoid"] for image in drawn] == [10, 20, 24, 45, 46]


def test_again_nothing_is_fetched_and_a_larger_set_adds_to_it(server: CocoServer, tmp_path: Path) -> None:
    download(server, tmp_path, subset=1)
    server.requests.clear()
    assert download(server, tmp_path, subset=1).already == 3 and server.requests == []
    result = download(server, tmp_path, subset=2)
    assert result.already == 3 and len(server.requests) == 3 and sum(n for n, _ in result.counts.values()) == 6


def test_a_part_that_another_program_left_is_fetched_again(server: CocoServer, tmp_path: Path) -> None:
    download(server, tmp_path)
    names = photos_of(tmp_path)
    (tmp_path / "photos" / names[0]).write_bytes(server.files[f"/{names[0]}"][:500])
    (tmp_path / "photos" / names[1]).write_bytes(b"")
    server.requests.clear()
    assert download(server, tmp_path).already == 12
    assert sorted(name for name, _ in server.requests) == [f"/{names[0]}", f"/{names[1]}"]
    check_whole(server, tmp_path, names)


def test_a_server_with_every_fault_gives_all_photos_in_the_end(server: CocoServer, tmp_path: Path) -> None:
    server.is_amazon = True
    faults = [
        *([break_off(0.3), break_off(0.5)], [status(503)], [status(503), break_off(0.5)], [coco_server.claim(70)]),
        *([coco_server.claim(-70)], [coco_server.flipped], [coco_server.page], [trickle(0.05, 400)], [trickle(1)]),
        [break_off(0.5), coco_server.whole_again],
        [break_off(0.5), coco_server.other_range],
    ]
    names = [name for name in server.files if name.endswith(".jpg")]
    for name, of_photo in zip(names, faults, strict=False):
        server.faults[name] = list(of_photo)
    server.faults["/caption_datasets.zip"] = [break_off(0.5), status(503)]
    result = download(server, tmp_path)
    assert result.failed == {} and not any(server.faults.values())
    check_whole(server, tmp_path, [name.lstrip("/") for name in names])


def test_photos_that_fail_are_named_and_left_out_and_the_rest_is_done(server: CocoServer, tmp_path: Path) -> None:
    names = [name for name in server.files if name.endswith(".jpg")]
    gone, busy, broken = names[0], names[8], names[11]
    del server.files[gone]
    server.faults[busy] = [status(503)] * 3
    server.files[broken] = server.files[broken][:300]
    result = download(server, tmp_path)
    assert {f"/{name}": reason for name, reason in result.failed.items()} == {
        gone: "the server answers 404 (Not Found)",
        busy: "the server answers 503 (Service Unavailable), 3 times in a row",
        broken: result.failed[broken[1:]],
    }
    assert "damaged or cut short" in result.failed[broken[1:]]
    check_whole(server, tmp_path, [name[1:] for name in names if name not in (gone, busy, broken)])
    assert result.counts == {"train": (7, 35), "val": (2, 10), "test": (2, 10)}
    assert len(read_captions(result.captions, check_files=True)) == 11
    server.files |= {gone: jpeg(1), broken: jpeg(12)}
    assert download(server, tmp_path).failed == {} and len(photos_of(tmp_path)) == 14


def test_a_network_that_is_gone_ends_it_soon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_coco, "_IN_A_ROW", 3)
    with serving() as server:
        names = make_coco(server, train=30)
        for name in names:
            server.faults[f"/{name}"] = [status(503)] * 9
        with pytest.raises(DataError, match=r"3 photos in a row failed, the last with: the server answers 503"):
            download(server, tmp_path, workers=1)
        assert len(server.requests) < 30
        assert not (tmp_path / "dataset_coco.json").exists()


def test_no_network_at_all(tmp_path: Path) -> None:
    with serving() as server:
        pass
    with pytest.raises(
        DataError, match=r"caption_datasets.zip: no answer \(Connection refused\), 3 times in a row; che"
    ):
        download(server, tmp_path)


def test_too_little_space(server: CocoServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data_coco, "BYTES_OF_A_PHOTO", 10**18)
    with pytest.raises(ConfigError, match=r"GB left, but 14 photos take about .* GB; choose another --out"):
        download(server, tmp_path)


@pytest.mark.parametrize(
    "image",
    [
        {"filepath": "..", "filename": "a.jpg"},
        {"filepath": "train2014", "filename": "../../a.jpg"},
        {"filepath": "/etc", "filename": "a.jpg"},
        {"filepath": "train2014", "filename": "a\\b.jpg"},
        {"filepath": "train2014"},
    ],
)
def test_names_that_lead_out_of_the_folder_are_refused(server: CocoServer, tmp_path: Path, image: dict) -> None:
    import io
    import zipfile

    file = io.BytesIO()
    content = {"images": [{**image, "split": "train", "cocoid": 1, "sentences": []}]}
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("dataset_coco.json", json.dumps(content))
    (tmp_path / "a.zip").write_bytes(file.getvalue())
    with pytest.raises(DataError, match=r"holds a dataset_coco\.json of another kind"):
        read_archive(tmp_path / "a.zip")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://example.org", "images"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="must begin with http"):
        CocoOptions(photos_url=url)


def flags(server: CocoServer, out: Path) -> list[str]:
    urls = ["--captions-url", f"{server.url}/caption_datasets.zip", "--photos-url", f"{server.url}/"]
    return ["data", "coco", "--out", str(out), *urls]


def run(server: CocoServer, out: Path, *others: str) -> Result:
    return CliRunner().invoke(main, [*flags(server, out), *others])


def test_the_command(server: CocoServer, tmp_path: Path) -> None:
    result = run(server, tmp_path / "coco", "--subset", "2")
    assert result.exit_code == 0 and result.stderr == f"{LICENSE}\n"
    assert result.stdout == (
        f"{tmp_path}/coco/dataset_coco.json, in Karpathy's format:\n"
        "  train: 2 photos, 10 captions\n  val: 2 photos, 10 captions\n  test: 2 photos, 10 captions\n"
    )
    checked = CliRunner().invoke(main, ["data", "check", f"{tmp_path}/coco/dataset_coco.json"])
    assert checked.exit_code == 0, checked.output


def test_the_command_where_photos_fail(server: CocoServer, tmp_path: Path) -> None:
    names = make_coco(server, train=20)
    for name in names[:15]:
        del server.files[f"/{name}"]
    result = run(server, tmp_path)
    assert result.exit_code == 1
    assert "wordgaze: train2014/COCO_train2014_" in result.stderr and "wordgaze: ... and 5 more" in result.stderr
    assert "15 photos are missing; give the same command again to try them again" in result.stderr


def test_killed_and_resumed(server: CocoServer, tmp_path: Path) -> None:
    names = make_coco(server, train=40)
    slow = jpeg(99, (1600, 1200))
    server.files[f"/{names[-1]}"] = slow
    for name in names:
        server.faults[f"/{name}"] = [trickle(0.05, max(len(server.files[f"/{name}"]) // 4, 1))]
    command = [sys.executable, "-m", "wordgaze", *flags(server, tmp_path), "--workers", "8"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("photos/*/*.jpg"))) < 10 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    done, parts = list(tmp_path.glob("photos/*/*.jpg")), list(tmp_path.glob("photos/*/*.part"))
    assert 10 <= len(done) < len(names) and parts and not (tmp_path / "dataset_coco.json").exists()
    assert all(open_photo(path, strict=True) for path in done)
    server.requests.clear()
    server.faults.clear()
    result = run(server, tmp_path)
    assert result.exit_code == 0, result.output
    check_whole(server, tmp_path, names)
    # Nothing that was whole came again, and what was there in part went on.
    asked = {Path(name).name: at for name, at in server.requests}
    assert not {path.name for path in done} & set(asked)
    begun = [path.name.removesuffix(".part") for path in parts]
    assert any((asked[name] or "").startswith("bytes=") for name in begun)
