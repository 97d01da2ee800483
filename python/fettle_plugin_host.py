"""Runs the function of a Python plugin for a Fettle worker.

The worker starts this file in the plugin's own environment and talks to it in JSON lines on standard input and output:

    {"type": "start", "folder": ..., "module": ..., "function": ..., "parameters": {...}}
        -> {"type": "ready"} | {"type": "fatal", "message": ..., "traceback": ...}
    {"type": "rows", "rows": [{"source_id": ..., "inputs": {...}}, ...]}
        -> {"type": "results", "results": [{"documents": [...]} | {"error": {...}}, ...]}

The function takes a list of rows (dicts: the inputs by name, and ``_source_id``) and, if it has a second parameter, the
plugin's parameters. It returns a list of the same length: for each row a dict (one document), a list of dicts (several), or an
exception. A dict's ``vectors`` maps names of the manifest to lists of numbers. Whatever the plugin prints goes to standard error.

Only the standard library is used, and nothing newer than Python 3.9.
"""

from __future__ import annotations

import importlib
import inspect
import json
import os
import sys
import traceback
from typing import Any, BinaryIO, Callable, Dict, List, Optional

Row = Dict[str, Any]
Function = Callable[..., Any]


class Plugin:
    """The plugin's function with what it needs to be called."""

    def __init__(self, function: Function, parameters: Dict[str, Any]) -> None:
        self._function = function
        self._parameters = parameters
        self._takes_parameters = _takes_parameters(function)

    def run(self, rows: List[Row]) -> List[Dict[str, Any]]:
        """One result for each row; rows of a call that fails are tried one by one."""
        try:
            returned = self._call(rows)
            if len(returned) != len(rows):
                raise ValueError(f"the function returned {len(returned)} results for {len(rows)} rows")
        except Exception as error:
            if len(rows) == 1:
                return [_error(error)]
            return [result for row in rows for result in self.run([row])]
        return [_result(one) for one in returned]

    def _call(self, rows: List[Row]) -> List[Any]:
        if self._takes_parameters:
            returned = self._function(rows, self._parameters)
        else:
            returned = self._function(rows)
        if not isinstance(returned, list):
            raise TypeError(f"the function returned {type(returned).__name__}, but must return a list with a result for each row")
        return returned


def _takes_parameters(function: Function) -> bool:
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    try:
        positional = [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]
    except (TypeError, ValueError):
        return False
    return len(positional) >= 2


def _result(returned: Any) -> Dict[str, Any]:
    if isinstance(returned, BaseException):
        return _error(returned)
    documents = returned if isinstance(returned, list) else [returned]
    for document in documents:
        if not isinstance(document, dict):
            return _error(TypeError(f"a result must be a dict, a list of dicts or an exception, not {type(document).__name__}"))
    try:
        return {"documents": [_plain(document) for document in documents]}
    except (TypeError, ValueError) as error:
        return _error(error)


def _plain(value: Any, depth: int = 0) -> Any:
    """The value as JSON can hold it: arrays of numpy and the like become lists, numbers become plain."""
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value)
    if depth > 64:
        raise ValueError("a value is nested too deeply")
    if isinstance(value, dict):
        return {str(key): _plain(inner, depth + 1) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(inner, depth + 1) for inner in value]
    to_list = getattr(value, "tolist", None)
    if callable(to_list):
        return _plain(to_list(), depth + 1)
    raise TypeError(f"a value of type {type(value).__name__} cannot be written as JSON")


def _error(error: BaseException) -> Dict[str, Any]:
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    message = f"{type(error).__name__}: {error}"
    is_memory = isinstance(error, MemoryError)
    category = "resource" if is_memory else getattr(error, "category", None)
    return {
        "error": {
            "message": message,
            "traceback": trace if error.__traceback__ is not None else None,
            "category": category if isinstance(category, str) else None,
            "transient": bool(getattr(error, "transient", False)),
        }
    }


def _load(request: Dict[str, Any]) -> Plugin:
    sys.path.insert(0, request["folder"])
    module = importlib.import_module(request["module"])
    function = getattr(module, request["function"], None)
    if not callable(function):
        raise AttributeError(f"module `{request['module']}` has no function `{request['function']}`")
    return Plugin(function, request["parameters"])


def _rows(request: Dict[str, Any]) -> List[Row]:
    return [{**row["inputs"], "_source_id": row["source_id"]} for row in request["rows"]]


def _answer(plugin: Optional[Plugin], request: Dict[str, Any]) -> Dict[str, Any]:
    assert plugin is not None, "rows came before the start"
    return {"type": "results", "results": plugin.run(_rows(request))}


def serve(requests: BinaryIO, answers: BinaryIO) -> int:
    """Answers requests until there are no more; the exit status."""
    plugin: Optional[Plugin] = None
    for line in requests:
        request = json.loads(line)
        is_loaded = True
        if request["type"] == "start":
            try:
                plugin = _load(request)
                answer: Dict[str, Any] = {"type": "ready"}
            except BaseException as error:  # A module may even call sys.exit.
                answer = {"type": "fatal", **_error(error)["error"]}
                is_loaded = False
        else:
            answer = _answer(plugin, request)
        answers.write(_encoded(answer))
        answers.flush()
        if not is_loaded:
            return 1
    return 0


def _encoded(answer: Dict[str, Any]) -> bytes:
    # A lone surrogate in a text has no UTF-8; as an escape it has none either, so it is replaced.
    text = json.dumps(answer, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", errors="replace") + b"\n"


def main() -> int:
    """Keeps standard output for answers alone, then serves."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="replace")
    return serve(sys.stdin.buffer, answers)


if __name__ == "__main__":
    sys.exit(main())
