"""Reads a configuration: defaults, base.yml, an override file, ``--set`` pairs, in this order."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from vizrec_spark.config.models import Config
from vizrec_spark.errors import ConfigError

BASE_NAME = "base.yml"


class _Loader(yaml.SafeLoader):
    """YAML as people expect it: ``1e-3`` is a number, ``no`` is a word, a key given twice is refused."""


_Loader.yaml_implicit_resolvers = {
    first: [
        (tag, regexp)
        for tag, regexp in rules
        if tag not in ("tag:yaml.org,2002:bool", "tag:yaml.org,2002:float")
    ]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(?:\d[\d_]*\.\d*|\.\d+|\d+)(?:[eE][-+]?\d+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would not read as the text that it is."""


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _mapping_without_duplicates(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[str] = set()
    for key_node, _ in node.value:  # before merge keys (<<) are resolved: what they bring may be overridden
        where = f"{key_node.start_mark.name}, line {key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise ConfigError(f"{where}: expected a name as key, found a list or a mapping.")
        if key_node.value in seen:
            raise ConfigError(f"{where}: key `{key_node.value}` is given twice.")
        seen.add(key_node.value)
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key, deep=True): loader.construct_object(value, deep=True)
        for key, value in node.value
    }


_Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_duplicates)


def load_config(path: str | Path | None = None, overrides: Iterable[str] = ()) -> Config:
    """The validated configuration.

    `path` is an override file that names differences only; a ``base.yml`` beside it is read first.
    `overrides` are ``section.key=value`` strings; the value is read as YAML.

    Raises: ConfigError, which lists every fault with its key, what was expected and the nearest known key.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        file = Path(path)
        base = file.with_name(BASE_NAME)
        if file.name != BASE_NAME and base.is_file():
            tree = _read(base)
        tree = _merged(tree, _read(file))
    for pair in overrides:
        tree = _merged(tree, _parse_pair(pair))
    try:
        return Config.model_validate(_tuples(tree))
    except ValidationError as error:
        raise ConfigError(_explain(error)) from None


def save_config(config: Config, file: Path) -> Path:
    """Writes what differs from the defaults to `file`, which `load_config` reads; the folder is made if need be."""
    differences = config.model_dump(mode="json", exclude_defaults=True)
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    scratch.write_text(
        yaml.dump(differences, Dumper=_Dumper, allow_unicode=True, sort_keys=False), encoding="utf-8"
    )
    scratch.replace(file)
    return file


def setting(key: str, value: object) -> str:
    """A pair for `overrides`; `value` is anything that JSON can hold."""
    return f"{key}={json.dumps(value, ensure_ascii=False)}"


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open(encoding="utf-8") as stream:
            tree = yaml.load(stream, _Loader)
    except OSError as error:
        raise ConfigError(f"Cannot read the configuration file {file}: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file} is not UTF-8 text: {error}.") from None
    except yaml.YAMLError as error:
        raise ConfigError(f"{file} is not valid YAML: {error}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: expected sections such as `embed:`, found a {type(tree).__name__}.")
    return tree


def _parse_pair(pair: str) -> dict[str, Any]:
    key, sign, text = pair.partition("=")
    names = key.strip().split(".")
    if not sign or not all(names):
        raise ConfigError(f"--set {pair!r}: expected section.key=value, for example --set similar.k=20.")
    try:
        value = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {pair!r}: the value is not valid YAML: {error}") from None
    for name in reversed(names):
        value = {name: value}
    return value


def _merged(below: Mapping[str, Any], above: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """`above` over `below`: sections merge key by key; anything else replaces, mappings such as `events` too."""
    result = dict(below)
    for key, value in above.items():
        old, name = result.get(key), f"{at}{key}"
        merges = isinstance(old, dict) and isinstance(value, dict) and name in _sections()
        result[key] = _merged(old, value, f"{name}.") if merges else value  # type: ignore[arg-type]
    return result


@cache
def _sections() -> frozenset[str]:
    """Dotted keys of all sections."""
    return frozenset(name for name, field in known_fields() if any(_models_in(field.annotation)))


def _tuples(value: Any) -> Any:
    """YAML lists as tuples: the models are frozen, and strict about it."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def known_keys() -> Iterator[str]:
    """Every key that can be set, dotted, sections included."""
    return (name for name, _ in known_fields())


def known_fields(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Every key that can be set, dotted, sections included, with its declaration."""
    for name, field in model.model_fields.items():
        yield prefix + name, field
        for nested in _models_in(field.annotation):
            yield from known_fields(nested, f"{prefix}{name}.")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _models_in(part)


def _explain(error: ValidationError) -> str:
    known = list(known_keys())
    lines = []
    for fault in error.errors():
        key = _key_of(fault["loc"], known)
        if fault["type"] == "extra_forbidden":
            near = _nearest(key, known)
            lines.append(f"{key}: unknown key" + (f"; did you mean `{near}`?" if near else "."))
        else:
            message = fault["msg"].removeprefix("Value error, ")
            got = "" if isinstance(fault["input"], dict | BaseModel) else f", got {fault['input']!r}"
            lines.append(f"{key}: {message[0].lower() + message[1:]}{got}")
    lines = list(dict.fromkeys(lines))
    count = "1 fault" if len(lines) == 1 else f"{len(lines)} faults"
    return f"The configuration has {count}:\n" + "\n".join(f"  - {line}" for line in lines)


def _key_of(loc: tuple[int | str, ...], known: list[str]) -> str:
    """The dotted key of a pydantic location, without the names of the union members it walked through."""
    names: list[str] = []
    for position, part in enumerate(loc):
        at = ".".join(names)
        member = (
            at in known and f"{at}.{part}" not in known and re.match(r"[A-Z]|literal\[|dict\[", str(part))
        )
        if not (
            member and (position < len(loc) - 1 or "[" in str(part) or str(part).endswith("Preprocessing"))
        ):
            names.append(str(part))
    return ".".join(names)


def _nearest(key: str, known: list[str]) -> str | None:
    """The known key that looks most like `key`: as a whole, or by its last name."""
    whole = difflib.get_close_matches(key, known, n=1, cutoff=0.8)
    if whole:
        return whole[0]
    parent, _, name = key.rpartition(".")
    elsewhere = [k for k in known if k.rpartition(".")[2] == name]
    if elsewhere:
        return elsewhere[0]
    siblings = {k.rpartition(".")[2]: k for k in known if k.rpartition(".")[0] == parent}
    near = difflib.get_close_matches(name, siblings, n=1, cutoff=0.5)
    if near:
        return siblings[near[0]]
    anywhere = {k.rpartition(".")[2]: k for k in reversed(known)}
    near = difflib.get_close_matches(name, anywhere, n=1, cutoff=0.75)
    return anywhere[near[0]] if near else None
