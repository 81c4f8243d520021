"""The recipe as frozen models: every key, its rule and its description; the only home of every default.

`recipe_file.py` reads them from YAML. A recipe knows nothing of Ray.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from mixray.rows import THINK_TAGS

NAME = r"^[a-z0-9][a-z0-9._-]*$"
Name = Annotated[str, Field(pattern=NAME)]
Share = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(gt=0)]


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value if isinstance(value, tuple) else (value,)


def _as_pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) else value


def _asks(template: str) -> str:
    if "{question}" not in template:
        raise ValueError("must contain {question}")
    return template


PromptTemplate = Annotated[str, AfterValidator(_asks)]


class Part(BaseModel):
    """A frozen piece of the recipe that refuses keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


ProblemFormat = Literal["plain", "gsm8k", "math", "math500", "amc23", "aime24", "olympiadbench"]


class ProblemSet(Part):
    """Where problems come from: the tiny world, a file (jsonl, csv, parquet; local or remote) or a hub data set."""

    source: str = Field("tiny", description="`tiny`, a file path or URL, or `hf:<data set id>`")
    format: ProblemFormat = Field("plain", description="which columns hold what, and how the gold is written")
    split: str = Field("train", description="train or test of the tiny world; the split of a hub data set")
    num_problems: PositiveInt | None = Field(None, description="take the first so many; all where unset")
    difficulty: tuple[PositiveInt, PositiveInt] = Field((2, 5), description="tiny world only: fewest and most steps")
    seed: int = Field(0, description="tiny world only: which problems are drawn")
    question_field: str | None = Field(None, description="the column of the question, `a.b` for a nested one; the format's where unset")
    answer_field: str | None = Field(None, description="the column of the gold; the format's where unset")
    unboxed: bool = Field(False, description="where no box is found, the last number is the answer; the format gsm8k says so by itself")

    @model_validator(mode="after")
    def _tiny_is_endless(self) -> ProblemSet:
        if self.source == "tiny" and self.num_problems is None:
            raise ValueError("num_problems must be set: the tiny world makes as many problems as are asked for")
        return self

    @property
    def counts_unboxed(self) -> bool:
        """Whether a number without a box is an answer to these problems."""
        return self.unboxed or self.format == "gsm8k"


class Until(Part):
    """Adaptive rejection sampling: a problem is asked again until it has enough right answers, or has been asked often enough."""

    right: PositiveInt = 1
    at_most: PositiveInt

    @model_validator(mode="after")
    def _can_be_reached(self) -> Until:
        if self.at_most < self.right:
            raise ValueError(f"at_most ({self.at_most}) must be at least right ({self.right})")
        return self


class Price(Part):
    """What a teacher costs, for the cost of a pool and of each accepted trace."""

    prompt_per_million_tokens: Annotated[float, Field(ge=0)] = 0.0
    response_per_million_tokens: Annotated[float, Field(ge=0)] = 0.0
    per_hour: Annotated[float, Field(ge=0)] = Field(0.0, description="of one replica, while it is up")
    currency: str = "USD"


class Asked(Part):
    """What every teacher that is asked has in common: how a question is put, how often, and what is made of the answer."""

    num_samples: PositiveInt = Field(1, description="answers asked per problem")
    until: Until | None = Field(None, description="in place of num_samples: ask again until so many are right")
    temperature: Annotated[float, Field(ge=0)] = Field(0.0, description="the paper decodes greedily")
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: PositiveInt = Field(4096, description="an answer is cut off here, and then never right")
    sampling: dict[str, Any] = Field(default_factory=dict, description="further sampling parameters, such as top_k or repetition_penalty")
    system_prompt: str | None = None
    prompt_template: PromptTemplate = Field("{question}", description="the user turn; `{question}` is replaced")
    thinking: Literal["keep", "drop"] = Field("keep", description="whether the thinking part stays in the response")
    think_tags: tuple[str, str] = Field(THINK_TAGS, description="how this teacher marks thinking; stored as <think> and </think>")
    price: Price = Field(default_factory=lambda: Price())
    block_rows: PositiveInt = Field(32, description="answers asked and written together: what a crash can lose")
    max_restarts: Annotated[int, Field(ge=0)] = Field(10, description="replacements of dead actors in a row without an answer")
    max_failed_share: Share = Field(0.5, description="of the last answers: with more truncated, empty, looping or failed ones the run ends")

    @model_validator(mode="after")
    def _asks_again_by_chance(self) -> Asked:
        if self.most_samples > 1 and self.temperature == 0:
            raise ValueError("temperature must be above 0 where a problem is asked more than once: greedy answers are all the same")
        return self

    @property
    def most_samples(self) -> int:
        """The largest number of answers one problem can get."""
        return self.until.at_most if self.until else self.num_samples


class Teacher(Asked):
    """A language model whose answers make a pool, run on vLLM."""

    model: str = Field(description="`tiny:<name>`, a model folder, or a hub id")
    lora: str | None = Field(None, description="an adapter's folder or hub id")
    replicas: Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_as_pair)] = Field(
        (1, 1), description="fewest and most engine actors; between them Ray Data scales by the work that waits"
    )
    num_gpus: Annotated[float, Field(ge=0)] = Field(0, description="GPUs of one replica, whole ones for tensor parallelism; 0 runs on CPU")
    threads: PositiveInt = Field(2, description="CPU engine threads of one replica")
    engine: dict[str, Any] = Field(default_factory=dict, description="further vLLM engine arguments")

    @model_validator(mode="after")
    def _replicas_ordered(self) -> Teacher:
        if self.replicas[0] > self.replicas[-1]:
            raise ValueError(f"replicas must be fewest and most, got {list(self.replicas)}")
        return self


class RemoteTeacher(Asked):
    """A language model behind an OpenAI-compatible endpoint."""

    endpoint: str = Field(pattern=r"^https?://", description="base URL, up to and including /v1")
    model: str = Field(description="the model's name there")
    key_env: str | None = Field(None, description="the environment variable that holds the key; none is sent where unset")
    concurrency: PositiveInt = Field(32, description="questions in flight at once")
    max_tries: PositiveInt = Field(8, description="of one question, before it ends as a row with an error")
    timeout_seconds: PositiveInt = Field(1800, description="of one try")
    cache: bool = Field(True, description="keep every reply, so that no question is paid for twice")


class TraceColumns(Part):
    """Where existing traces keep what a pool needs: column names, `a.b` and `a[-1]` for nested ones."""

    response: str = "response"
    problem_id: str | None = Field(None, description="matches a trace to its problem; by the question where unset")
    question: str = "question"
    finish_reason: str | None = Field(None, description="stop or length; where unset nobody knows, and a trace counts as finished")
    num_response_tokens: str | None = None


class ImportedTeacher(Part):
    """Traces that exist already, in a file or a hub data set."""

    traces: str = Field(description="a file path or URL (jsonl, json, csv, parquet), or `hf:<data set id>`")
    split: str = Field("train", description="of a hub data set")
    columns: TraceColumns = Field(default_factory=lambda: TraceColumns())
    response_after: str | None = Field(None, description="the response is what follows the last of this text: for transcripts")
    thinking: Literal["keep", "drop"] = "keep"
    think_tags: tuple[str, str] = THINK_TAGS
    price: Price = Field(default_factory=lambda: Price())


# A teacher's kind shows in its keys; the tags turn up in the places of pydantic's errors, and `recipe_file` leaves them out.
KINDS_OF_TEACHER: dict[str, type[Part]] = {"vllm": Teacher, "remote": RemoteTeacher, "imported": ImportedTeacher}


def _kind_of_teacher(value: Any) -> str:
    if isinstance(value, Part):
        return next(tag for tag, kind in KINDS_OF_TEACHER.items() if type(value) is kind)
    keys = value if isinstance(value, dict) else {}
    return "remote" if "endpoint" in keys else "imported" if "traces" in keys else "vllm"


AskedTeacher = Annotated[Annotated[Teacher, Tag("vllm")] | Annotated[RemoteTeacher, Tag("remote")], Discriminator(_kind_of_teacher)]
AnyTeacher = Annotated[
    Annotated[Teacher, Tag("vllm")] | Annotated[RemoteTeacher, Tag("remote")] | Annotated[ImportedTeacher, Tag("imported")],
    Discriminator(_kind_of_teacher),
]


class LlmJudge(Part):
    """A second opinion on answers the rule cannot tell, or does not hold for right; kept beside the rule's verdict."""

    teacher: AskedTeacher = Field(description="who is asked; `vllm` and endpoints alike")
    asked: Literal["unknown", "not_right"] = Field("unknown", description="not_right is the paper's: every row the rule does not accept")

    @model_validator(mode="after")
    def _is_asked_once(self) -> LlmJudge:
        if self.teacher.most_samples > 1:
            raise ValueError("a judge gives one opinion on each answer: leave num_samples and until of judge.teacher out")
        return self


class Blend(Part):
    """Mixtures of a hard and an easy pool, one for each `alpha` (the share of rows that take the hard trace)."""

    hard: Name = Field(description="the pool of long traces, or of the large teacher")
    easy: Name
    alpha: Annotated[tuple[Share, ...], BeforeValidator(_as_tuple), Field(min_length=1)] = Field(
        (0.0, 0.2, 1.0), description="0 is the easy pool alone, 1 the hard one; the paper's best is 0.2"
    )
    sharing: Literal["both_right"] = Field("both_right", description="only problems every pool solved, each once (the paper's)")
    num_rows: PositiveInt | None = Field(None, description="rows of each mixture; every shared problem where unset")

    @model_validator(mode="after")
    def _mixes_two_pools(self) -> Blend:
        if self.hard == self.easy:
            raise ValueError(f"hard and easy must be two pools, got {self.hard!r} for both")
        return self


class Student(Part):
    """A small model to be taught."""

    model: str = Field(description="`tiny:<name>`, a model folder, or a hub id")


class Train(Part):
    """How every arm is trained: one block for all, since arms trained differently cannot be compared."""

    epochs: PositiveInt = Field(2, description="paper Table 5")
    learning_rate: Annotated[float, Field(gt=0)] = Field(1e-5, description="paper Table 5")
    warmup_share: Share = Field(0.0, description="share of the steps that warm up; then cosine to zero")
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    batch_rows: PositiveInt = Field(16, description="training examples in one optimiser step, over all workers")
    max_tokens: PositiveInt = Field(16384, description="longer examples are dropped and counted, never cut")
    pack_tokens: PositiveInt | None = Field(None, description="tokens of one packed sequence; max_tokens where unset")
    packs_multiple: PositiveInt = Field(1, description="packed sequences of a step are a multiple of this: set it to the number of workers")
    micro_batch_tokens: PositiveInt = Field(16384, description="tokens of one forward pass of one worker")
    zero_stage: Literal[1, 2, 3] = 3
    num_workers: PositiveInt = 1
    use_gpu: bool = False
    dtype: Literal["float32", "bfloat16"] = "bfloat16"
    checkpoint_every_steps: PositiveInt = 200
    max_failures: Annotated[int, Field(ge=0)] = Field(3, description="worker group restarts before giving up")

    @model_validator(mode="after")
    def _packs_hold_a_row(self) -> Train:
        if self.pack_tokens is not None and self.pack_tokens < self.max_tokens:
            raise ValueError(f"pack_tokens ({self.pack_tokens}) must be at least max_tokens ({self.max_tokens})")
        return self


class Serve(Part):
    """The endpoint that hosts the students."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65535)] = Field(8000, description="0 picks a free one")
    students_at_once: PositiveInt = Field(4, description="students up at a time during a run")
    max_model_len: PositiveInt | None = Field(None, description="tokens of prompt and answer; the model's own where unset")
    num_gpus: Annotated[float, Field(ge=0)] = Field(0, description="GPUs of one student; 0 runs on CPU")
    kv_cache_bytes: PositiveInt | None = Field(None, description="memory of one student's KV cache; vLLM's own where unset")
    engine: dict[str, Any] = Field(default_factory=dict, description="further vLLM engine arguments")


class Evaluate(Part):
    """What the students are asked, and how. No stop strings are sent: they cut reasoning."""

    benchmarks: dict[Name, ProblemSet]
    num_samples: PositiveInt = 1
    temperature: Annotated[float, Field(ge=0)] = 0.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    max_tokens: PositiveInt = Field(16000, description="paper section 2.6")
    concurrency: PositiveInt = Field(64, description="questions in flight at once, over all students that are up")
    timeout_seconds: PositiveInt = 600

    @model_validator(mode="after")
    def _asks_something(self) -> Evaluate:
        if not self.benchmarks:
            raise ValueError("benchmarks must name at least one problem set")
        return self


class Report(Part):
    """How numbers get their intervals."""

    confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
    num_resamples: PositiveInt = Field(10_000, description="of the bootstrap")


class Recipe(Part):
    """Everything one run needs to know."""

    name: Name
    seed: int = Field(0, description="of generation, mixing and the bootstrap")
    problems: ProblemSet = Field(description="what the teachers are asked")
    teachers: dict[Name, AnyTeacher]
    judge: LlmJudge | None = Field(None, description="a model's second opinion on the teachers' answers")
    mixtures: dict[Name, Blend]
    students: dict[Name, Student]
    student_prompt: PromptTemplate = Field(
        "{question}", description="the user turn in training and in asking alike; `{question}` is replaced"
    )
    train: Train = Field(default_factory=lambda: Train())
    seeds: Annotated[tuple[int, ...], BeforeValidator(_as_tuple), Field(min_length=1)] = Field(
        (0,), description="training seeds: an arm for each"
    )
    serve: Serve = Field(default_factory=lambda: Serve())
    evaluate: Evaluate
    report: Report = Field(default_factory=lambda: Report())

    @model_validator(mode="after")
    def _names_exist(self) -> Recipe:
        for part in ("teachers", "mixtures", "students"):
            if not getattr(self, part):
                raise ValueError(f"{part} must name at least one")
        for name, blend in self.mixtures.items():
            for side in ("hard", "easy"):
                pool = getattr(blend, side)
                if pool not in self.teachers:
                    raise ValueError(
                        f"mixtures.{name}.{side}: no pool is called {pool!r}; the pools are {sorted(self.teachers)}"
                        + nearest(pool, self.teachers)
                    )
        if self.serve.max_model_len is not None and self.evaluate.max_tokens >= self.serve.max_model_len:
            raise ValueError(
                f"evaluate.max_tokens ({self.evaluate.max_tokens}) must leave room for the question in "
                f"serve.max_model_len ({self.serve.max_model_len})"
            )
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError(f"seeds must differ from each other, got {list(self.seeds)}")
        return self


def nearest(word: str, known: Iterable[str]) -> str:
    """Return "; did you mean ...?" with the known word that is close to `word`, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""
