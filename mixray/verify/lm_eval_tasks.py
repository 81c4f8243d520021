"""lm-eval's own judgement of a response, by its own functions: the tasks' `process_results`, filters and metrics, called on made docs.

In: a metric's name, a gold and a whole response. Out: an `Opinion` whose reason is what lm-eval took for the answer. Runs in fenced child
processes alone (`mixray.verify.child`); lm-eval is imported there and nowhere else. Three things are not as in a run of lm-eval: a doc's
solution is the gold in a box, where the gold is no whole solution; Math-Verify reads numbers and plain arithmetic by its LaTeX grammar
instead of Python's `eval` (`mixray.verify.library`); and minerva_math's two metrics are worked out one at a time, so that `math_verify`
can be had beside any antlr that Math-Verify works with. `LM_EVAL.md` beside this file tells how often any of this matters.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import yaml

from mixray.errors import VerifyError
from mixray.verify.numbers import Opinion

PREFIX = "lm-eval:"
PACKAGE = "lm_eval"
ANTLR, ANTLR_OF_SYMPY = "antlr4-python3-runtime", "4.11"
LONGEST_ANSWER = 300  # characters of an answer that are told
NO_ANSWER = "no_answer"
_NONE_FOUND = ("[invalidanswer]", "[invalid]")


class Metric(NamedTuple):
    """A metric of an lm-eval task.

    Attributes:
        task: the folder of the task.
        config: its YAML file, where the metric is made of a filter and a function; None where `process_results` does it all.
        part: the filter's name, or the key in what `process_results` returns.
        reads: what it takes for the answer, in words.
    """

    task: str
    config: str | None
    part: str
    reads: str


METRICS = {
    "minerva-math-verify": Metric("minerva_math", None, "math_verify", "whatever Math-Verify finds in the whole response"),
    "minerva-exact-match": Metric("minerva_math", None, "exact_match", "what follows `Final Answer: The final answer is`"),
    "hendrycks-exact-match": Metric("hendrycks_math", None, "exact_match", "what stands between the first $ and the last"),
    "aime-exact-match": Metric("aime", None, "exact_match", "the last box, else what stands between the first $ and the last"),
    "gsm8k-strict-match": Metric("gsm8k", "gsm8k.yaml", "strict-match", "the first number after `####`"),
    "gsm8k-flexible-extract": Metric("gsm8k", "gsm8k.yaml", "flexible-extract", "the last number"),
    "gsm8k-cot-strict-match": Metric("gsm8k", "gsm8k-cot-zeroshot.yaml", "strict-match", "the first number after `The answer is`"),
}
"""By the name that follows `lm-eval:`; minerva_math500 and hendrycks_math500 are judged as their families are."""


def metric_of(policy: str) -> str:
    """Return the metric that a policy names.

    Raises:
        VerifyError: there is no such metric, or lm-eval is not installed.
    """
    name = policy.removeprefix(PREFIX)
    if name not in METRICS:
        rule = " | ".join(PREFIX + known for known in METRICS)
        raise VerifyError("lm-eval has no such metric here", seen=policy, rule=rule, do="pass one of them")
    if importlib.util.find_spec(PACKAGE) is None:
        raise VerifyError("lm-eval is not installed", seen=policy, rule="its own functions judge", do="pip install 'lm-eval[math]'")
    if name == "minerva-exact-match" and not metadata.version(ANTLR).startswith(ANTLR_OF_SYMPY):
        raise VerifyError(
            "This metric of lm-eval cannot be worked out here",
            seen=f"{policy} with {ANTLR} {metadata.version(ANTLR)}",
            rule=f"sympy reads LaTeX with {ANTLR_OF_SYMPY} alone",
            do=f"take {PREFIX}minerva-math-verify, or install lm-eval[math] in an environment of its own",
        )
    return name


def version() -> str:
    """Return which lm-eval judges, with its version and Math-Verify's."""
    return f"lm-eval {metadata.version(PACKAGE)} with math-verify {metadata.version('math-verify')}"


def judge(name: str, gold: str, response: str) -> Opinion:
    """Return what lm-eval's metric `name` says of a response; where its code raises, the verdict is unknown and the error the reason."""
    metric = METRICS[name]
    try:
        right, answer = (_by_results if metric.config is None else _by_filter)(metric, gold, response)
    except Exception as error:  # lm-eval would end its run here
        return Opinion("unknown", f"raises {type(error).__name__}")
    told = NO_ANSWER if answer is None or answer in _NONE_FOUND else answer
    return Opinion("right" if right else "wrong", told[:LONGEST_ANSWER])


def warm() -> None:
    """Load all that judging needs, before the fence is up."""
    for metric in METRICS.values():
        if metric.config is None:
            _task(metric.task)
        else:
            _by_filter(metric, "2", "#### 2")
    judge("minerva-math-verify", "1/2", "Final Answer: The final answer is $1/2$. I hope it is correct.")


def _by_results(metric: Metric, gold: str, response: str) -> tuple[bool, str | None]:
    module = _task(metric.task)
    solution = gold if "\\boxed" in gold else f"$\\boxed{{{gold}}}$"
    if metric.task == "aime":
        doc: Mapping[str, Any] = {"Answer": gold}
    else:
        doc = module.process_docs(_OneDoc({"problem": "", "solution": solution}))
    _looked_at.clear()
    _looked_at["part"] = metric.part
    scores = module.process_results(doc, [response])
    return bool(scores[metric.part]), _looked_at.get(metric.part)


class _OneDoc(dict[str, Any]):
    """A data set of one doc, as far as a task's `process_docs` looks."""

    def map(self, function: Callable[[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
        return function(dict(self))


_looked_at: dict[str, str | None] = {}
"""What the task's own functions were handed as the answer, by metric; and, as `part`, which metric is asked for."""


@cache
def _task(task: str) -> ModuleType:
    """Load a task's `utils.py` by its path, as lm-eval does, with an ear at the functions that compare."""
    spec = importlib.util.spec_from_file_location(f"lm_eval_task_{task}", _folder(task) / "utils.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with _any_antlr():
        spec.loader.exec_module(module)
    compare = module.is_equiv

    def is_equiv(answer: str | None, gold: str | None) -> bool:
        _looked_at["exact_match"] = answer
        return _looked_at.get("part") == "exact_match" and bool(compare(answer, gold))

    module.__dict__["is_equiv"] = is_equiv
    if "verify" in module.__dict__:
        verify = module.verify

        def listening(gold: list[Any], target: list[Any]) -> bool:
            texts = [part for part in target if isinstance(part, str)]
            _looked_at["math_verify"] = texts[-1] if texts else str(target[-1]) if target else None
            return _looked_at.get("part") == "math_verify" and bool(verify(gold=gold, target=target))

        module.__dict__["verify"] = listening
    return module


@contextmanager
def _any_antlr() -> Iterator[None]:
    """Let minerva_math load beside another antlr than sympy's: its check is for `exact_match`, which `metric_of` refuses there."""
    told = metadata.version

    def answer(distribution_name: str) -> str:
        return ANTLR_OF_SYMPY if distribution_name == ANTLR else told(distribution_name)

    metadata.version = answer
    try:
        yield
    finally:
        metadata.version = told


def _folder(task: str) -> Path:
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "tasks" / task


def _by_filter(metric: Metric, gold: str, response: str) -> tuple[bool, str | None]:
    assert metric.config is not None
    instance, metrics = (importlib.import_module(f"{PACKAGE}.api.{name}") for name in ("instance", "metrics"))
    ensemble, arguments = _filter(metric.task, metric.config, metric.part)
    asked = instance.Instance(request_type="generate_until", doc={}, arguments=("", {}), idx=0)
    asked.resps = [response]
    ensemble.apply([asked])
    answer = asked.filtered_resps[metric.part]
    found = metrics.exact_match_fn(references=[gold], predictions=[answer], **arguments)
    return bool(found["exact_match"] == 1), answer


@cache
def _filter(task: str, config: str, part: str) -> tuple[Any, dict[str, Any]]:
    """Return the filter of a task and what its metric is called with, both as its YAML says."""
    told = yaml.safe_load((_folder(task) / config).read_text(encoding="utf-8"))
    steps = next(entry["filter"] for entry in told["filter_list"] if entry["name"] == part)
    components = [(step["function"], {key: value for key, value in step.items() if key != "function"}) for step in steps]
    arguments = {key: value for key, value in told["metric_list"][0].items() if key not in ("metric", "aggregation", "higher_is_better")}
    return importlib.import_module(f"{PACKAGE}.filters").build_filter_ensemble(part, components), arguments
