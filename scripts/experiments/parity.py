"""Reproduces published scores to every digit, and compares our tokenizer with the Java one that it must equal.

python -m scripts.experiments.parity [DATA]

DATA holds `results/` with a published system's captions and their references, and captions of other sets. The
tokenizers are compared on all captions in it, where Java and pycocoevalcap are installed. Status 1: something differs.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from scripts import SHARED_DATA
from scripts.common.arguments import script_parser
from wordgaze.evaluation.ptb import PUNCTUATION, tokenize_all
from wordgaze.tasks.evaluate import CaptionEvaluator, evaluate_results, reference_photos

PUBLISHED = {
    "Bleu_1": 0.779352490204687,
    "Bleu_2": 0.6254460544059197,
    "Bleu_3": 0.488918101005435,
    "Bleu_4": 0.37993659508369276,
    "ROUGE_L": 0.5771640445707655,
    "CIDEr": 1.2000257033982205,
}
"""Of show_edit_tell_xe.json, as DATA's README gives them."""


def stanford_jar() -> Path | None:
    """Return the tokenizer of pycocoevalcap; None where it, or Java, is missing."""
    package = find_spec("pycocoevalcap")
    folders = (package.submodule_search_locations or ()) if package and shutil.which("java") else ()
    jars = [jar for folder in folders for jar in Path(folder).glob("tokenizer/stanford-corenlp-*.jar")]
    return jars[0] if jars else None


def stanford_words(captions: Sequence[str], jar: Path, timeout: float = 600) -> list[list[str]]:
    """Tokenize the captions with pycocoevalcap's PTBTokenizer in one call that writes nothing beside its jar."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "captions.txt")
        file.write_bytes("\n".join(caption.replace("\n", " ") for caption in captions).encode())
        command = ["java", "-XX:+UseSerialGC", "-cp", str(jar), "edu.stanford.nlp.process.PTBTokenizer"]
        done = subprocess.run(
            [*command, "-preserveLines", "-lowerCase", str(file)],
            capture_output=True,
            check=True,
            timeout=timeout,
        )
    lines = done.stdout.decode().split("\n")
    assert len(lines) - len(captions) in (0, 1), "Java took a line for two, or two for one"
    return [
        [word for word in line.rstrip().split(" ") if word and word not in PUNCTUATION]
        for line in lines[: len(captions)]
    ]


def all_captions(data: Path) -> list[str]:
    """Return every caption in the folder: of captions files, results, and lines of text."""
    captions: list[str] = []
    for file in sorted(data.rglob("*.json")):
        content = json.loads(file.read_text(encoding="utf-8"))
        entries = content if isinstance(content, list) else content["annotations"]
        captions += [entry["caption"] for entry in entries if "caption" in entry]
    for file in sorted(data.glob("*.txt")):
        captions += file.read_text(encoding="utf-8").split("\n")
    return captions


def main() -> None:
    parser = script_parser(__doc__)
    parser.add_argument("data", type=Path, nargs="?", default=SHARED_DATA)
    data: Path = parser.parse_args().data

    evaluator = CaptionEvaluator(reference_photos(data / "results" / "karpathy_test_references.json"))
    metrics = evaluate_results(data / "results" / "show_edit_tell_xe.json", evaluator).metrics
    for name, value in PUBLISHED.items():
        print(f"{name:8} published {value!r:20} here {metrics[name]!r:20} difference {metrics[name] - value:g}")

    jar = stanford_jar()
    if jar is None:
        print("tokens not compared: that needs Java and pycocoevalcap, which brings the Java tokenizer")
        sys.exit(metrics != PUBLISHED)
    captions = all_captions(data)
    pairs = list(zip(captions, tokenize_all(captions), stanford_words(captions, jar), strict=True))
    different = [pair for pair in pairs if pair[1] != pair[2]]
    for caption, ours, theirs in different[:20]:
        print(f"{caption!r}\n  here {ours}\n  Java {theirs}")
    print(f"captions: {len(captions):,}")
    print(f"tokens compared: {sum(len(theirs) for _, _, theirs in pairs):,}, differences: {len(different)}")
    sys.exit(bool(different) or metrics != PUBLISHED)


if __name__ == "__main__":
    main()
