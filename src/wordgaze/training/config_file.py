"""A training config as a file: read with overrides, each mistake a sentence; and written with every default."""

from __future__ import annotations

import dataclasses
import difflib
import re
from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from wordgaze.data.captions import Source
from wordgaze.errors import ConfigError
from wordgaze.training.checks import type_rule
from wordgaze.training.config import TrainingConfig
from wordgaze.training.settings import flat_class, options_from, setting_fields, settings_of

_EMPTY = {"--data.train": "[]", "--data.validation": "{}"}
_GROUPS: dict[str, type] = {
    field.name: type(getattr(TrainingConfig(), field.name)) for field in dataclasses.fields(TrainingConfig)
}
_OPTIONS = ("config", "out", "restart", "threads", "debug")  # of the command itself; for "did you mean"
_Group = dict[str, Any]
"""A dataclass's fields by name: another group, or the field's annotation."""


def parse_config(config: str | Path | Sequence[str | Path], overrides: Sequence[str] = ()) -> TrainingConfig:
    """Read YAML files and dotted overrides (``--train.epochs 3``); raise ConfigError in a sentence.

    Of several files the later ones win field by field; lists and ``data.validation`` are replaced whole.
    """
    paths = [Path(file) for file in ([config] if isinstance(config, str | Path) else config)]
    for path in paths:
        _check_yaml(path)
    _check_overrides(overrides)
    try:
        return _parse(paths, overrides)
    except (ArgumentError, TypeError, ValueError) as error:
        problem = _in_a_line(error)
        at_fault = _at_fault(paths, overrides, problem)
        raise ConfigError(f"{at_fault} can't be used: {problem}") from error
    except ConfigError as error:  # of a value that is out of its range
        if len(paths) == 1:
            raise
        problem = str(error)
        at_fault = _at_fault(paths, overrides, problem)
        raise ConfigError(f"{at_fault} can't be used: {problem}") from error


def _parse(paths: Sequence[Path], overrides: Sequence[str]) -> TrainingConfig:
    # Without allow_abbrev=False, --train.epoch would be --train.epochs.
    parser = ArgumentParser(exit_on_error=False, prog="wordgaze train", allow_abbrev=False)
    parser.add_argument("--config", action="config")
    for name, group in _GROUPS.items():
        parser.add_class_arguments(flat_class(group), name)
    files = [part for path in paths for part in (*_emptied(path), "--config", str(path))]
    values = parser.instantiate_classes(parser.parse_args([*files, *_replacing(overrides)]))
    settings = {name: vars(values[name]) for name in _GROUPS}
    return TrainingConfig(**{name: options_from(group, settings[name]) for name, group in _GROUPS.items()})


def _at_fault(paths: Sequence[Path], overrides: Sequence[str], problem: str) -> str:
    """Return what has the problem, for a sentence: of several files the last that has it alone."""
    if len(paths) == 1:
        return f"{paths[0]} with its overrides"
    for path in reversed(paths):
        try:
            _parse([path], [])
        except (ArgumentError, TypeError, ValueError) as error:
            if _in_a_line(error) == problem:
                return str(path)
        except ConfigError as error:
            if str(error) == problem:
                return str(path)
    together = " and ".join(map(str, paths))
    return f"{together} with their overrides" if overrides else f"{together} together"


def describe(config: TrainingConfig) -> str:
    """Return the config as YAML, every default spelled out."""
    return str(yaml.safe_dump(settings_of(config), sort_keys=False, allow_unicode=True))


def _fields(kind: type) -> _Group:
    """Return the settings of an option class by name, groups as such dictionaries."""
    hints = get_type_hints(kind)
    return {
        field.name: _fields(hints[field.name]) if dataclasses.is_dataclass(hints.get(field.name)) else str(field.type)
        for field in setting_fields(kind)
    }


_FIELDS = _fields(TrainingConfig)
_SOURCE = _fields(Source)


def _dotted(group: _Group, prefix: str = "") -> Iterator[str]:
    for name, inner in group.items():
        yield prefix + name
        if isinstance(inner, dict):
            yield from _dotted(inner, f"{prefix}{name}.")


_NAMES = tuple(_dotted(_FIELDS))


def _did_you_mean(name: str, known: Sequence[str]) -> str:
    """Return "; did you mean ...?" where a known name is close, by its last part too: ``--epochs``, ``--seed``."""
    last = [other for other in known if _last_part(other) == _last_part(name)]
    close = last or difflib.get_close_matches(name, known, 1, cutoff=0.7)
    return f"; did you mean {' or '.join(close[:2])}?" if close else ""


def _last_part(name: str) -> str:
    return name.removeprefix("--").rpartition(".")[2]


def _check_overrides(overrides: Sequence[str]) -> None:
    """Raise ConfigError where an override's name is unknown: the parser would not say which one is near."""
    for text in overrides:
        if not text.startswith("--"):
            continue
        name = text[2:].partition("=")[0].removesuffix("+")
        if name in _NAMES or name == "print_config" or re.match(r"data\.(train|validation)\.", name):
            continue
        known = [f"--{option}" for option in (*_OPTIONS, *_NAMES)]
        hint = _did_you_mean(f"--{name}", known) or "; settings are --GROUP.NAME VALUE, as in the config"
        raise ConfigError(f"There is no setting --{name}{hint}" + ("" if hint.endswith("?") else "."))


def _replacing(overrides: Sequence[str]) -> Iterator[str]:
    """Yield the overrides, sources after an empty list: without it they would be merged with the config's."""
    for text in overrides:
        name = text.split("=")[0]
        if name in _EMPTY:
            yield f"{name}={_EMPTY[name]}"
        yield text


def _emptied(path: Path) -> Iterator[str]:
    """Yield overrides that empty what the file replaces whole, for the files before it; see :func:`_replacing`."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")).get("data")
        if isinstance(data, str):  # a file of its own
            data = yaml.safe_load(Path(data).read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return  # the parser reads it, too, and says what is wrong
    for name, empty in _EMPTY.items():
        if isinstance(data, dict) and name.removeprefix("--data.") in data:
            yield f"{name}={empty}"


def _check_yaml(path: Path) -> None:
    """Raise ConfigError where the file is not YAML, or its keys are not those of a config, each in its place."""
    root = _compose(path)
    if root is None:
        raise ConfigError(f"The config {path} is empty; start from one in configs/.")
    if not isinstance(root, yaml.MappingNode):
        kind = "a list" if isinstance(root, yaml.SequenceNode) else "a text"
        raise ConfigError(f"The config {path} is {kind}; it must have settings in groups, as in configs/shapes.yaml.")
    try:
        _check_keys(path, root, _FIELDS, "")
    except RecursionError:  # an anchor within itself
        raise ConfigError(f"The config {path} is nested too deeply; check that this is the right file.") from None


def _compose(path: Path) -> yaml.Node | None:
    """Return the YAML file's nodes, which know their lines; None of an empty one. Raise ConfigError."""
    if not path.is_file():
        problem = "is a folder" if path.is_dir() else "does not exist"
        raise ConfigError(f"The config {path} {problem}; name a YAML file, such as configs/shapes.yaml.")
    try:
        return yaml.compose(path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise ConfigError(f"The config {path} can't be read ({error.strerror}); check its permissions.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(
            f"The config {path} is not UTF-8 text (byte {error.start}); check that this is the right file."
        ) from None
    except RecursionError:
        raise ConfigError(f"The config {path} is nested too deeply; check that this is the right file.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"The config {path} is not YAML{_yaml_problem(error)}") from None


def _yaml_problem(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "it can't be read"
    if "'\\t'" in problem:
        problem = "a tab; YAML is indented with spaces"
    where = "" if mark is None else f" in line {mark.line + 1}, column {mark.column + 1}"
    return f"{where}: {problem}."


def _check_keys(path: Path, node: yaml.Node, fields: object, prefix: str) -> None:
    """Check the keys of a node and of what is below it; ``fields`` says which there may be."""
    if isinstance(node, yaml.SequenceNode) and fields == "list[Source]":
        for index, source in enumerate(node.value):
            _check_keys(path, source, _SOURCE, f"{prefix}[{index}]")
    elif isinstance(node, yaml.MappingNode) and fields == "dict[str, Source]":
        for name, _, source in _unique(path, node, prefix):
            _check_keys(path, source, _SOURCE, f"{prefix}.{name}")
    elif isinstance(node, yaml.MappingNode) and isinstance(fields, dict):
        for name, line, value in _unique(path, node, prefix):
            full = f"{prefix}.{name}".removeprefix(".")
            if name not in fields:
                known = _NAMES if fields is not _SOURCE else [f"{prefix}.{field}" for field in fields]
                hint = _did_you_mean(full, known) or f"; choose from {', '.join(fields)}."
                raise ConfigError(f"The config {path} has an unknown setting {full} in line {line}{hint}")
            group = isinstance(fields[name], dict) and not isinstance(value, yaml.MappingNode)
            if group and not (isinstance(value, yaml.ScalarNode) and Path(value.value).is_file()):
                raise ConfigError(
                    f"The config {path} has no settings below {full} in line {line}; indent them, "
                    "or leave the name out."
                )
            _check_keys(path, value, fields[name], full)


def _unique(path: Path, node: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, int, yaml.Node]]:
    """Yield each key with its line and its node; raise ConfigError where one comes twice: the last would count."""
    lines: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name == "<<":  # YAML's merge; what it brings in is checked where it stands
            continue
        if name in lines:
            full = f"{prefix}.{name}".removeprefix(".")
            raise ConfigError(
                f"The config {path} has {full} in line {lines[name]} and again in line {line}; drop one of them."
            )
        lines[name] = line
        yield name, line, value


def _in_a_line(error: BaseException) -> str:
    """Return jsonargparse's error as the setting, what was found, and what it must be."""
    text = str(error)
    keys = re.findall(r'Parser key "([^"]+)"', text)
    setting = ".".join(dict.fromkeys(keys))
    value = re.search(r"(?:Got value|Given value): (.*)", text)
    if keys and (unknown := re.search(r"Option '([^']+)' is not accepted", text)):
        hint = _did_you_mean(unknown[1], list(_SOURCE)) or f"; choose from {', '.join(_SOURCE)}."
        return f"{setting} has an unknown {unknown[1]}{hint}"
    if keys and (missing := re.search(r"arguments are required: (.*)", text)):
        return f"{setting}: a source has no {missing[1]}; name the file or folder of its captions."
    if keys and (value or (value := re.search(r"dot import path string: (.*)", text))):
        annotation = _annotation(keys)
        rule = None if annotation is None else type_rule(annotation)
        wanted = "that does not fit" if rule is None else f"it must be {rule.text}"
        return f"{setting} is {value[1]:.60}; {wanted}."
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return " ".join(lines[:3]) or "unknown options"


def _annotation(keys: Sequence[str]) -> str | None:
    """Return the type of the setting that jsonargparse names, of a source's field where it names one within."""
    fields: Any = _SOURCE if len(keys) > 1 and keys[0] != keys[-1] else _FIELDS
    for part in keys[-1].split("."):
        fields = fields.get(part) if isinstance(fields, dict) else None
    return fields if isinstance(fields, str) else None
