"""Who answers the problems, how they are asked, what they cost, and who gives a second opinion."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from mixray.recipe.part import Part, PositiveInt, PromptTemplate, Share, as_pair_of, may_lack
from mixray.recipe.placement import Placed
from mixray.recipe.shipped_models import TEACHERS, filled_teacher
from mixray.rows import THINK_TAGS


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


class Asked(Placed):
    """What every teacher that is asked has in common: how a question is put, how often, and what is made of the answer."""

    preset: str | None = Field(None, exclude=True, description="a shipped teacher, of which what is not set here comes")
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
    max_failed_share: Share = Field(
        0.5, description="of the last 200 answers, and at the end of all: where more are cut off, looping, empty or failed, the run ends"
    )

    @model_validator(mode="after")
    def _asks_again_by_chance(self) -> Asked:
        if self.most_samples > 1 and self.temperature == 0:
            raise ValueError("temperature must be above 0 where a problem is asked more than once: greedy answers are all the same")
        return self

    @property
    def most_samples(self) -> int:
        """The largest number of answers one problem can get."""
        return self.until.at_most if self.until else self.num_samples


NOT_FURTHER = {"temperature", "top_p", "max_tokens", "seed", "n", "best_of", "stop", "detokenize", "output_kind"}
"""What `sampling` cannot say of an engine of mixray's own, which says it itself."""


class Teacher(Asked):
    """A language model whose answers make a pool, run on vLLM."""

    model_config = ConfigDict(json_schema_extra=may_lack("model"))

    model: str = Field(description="`tiny:<name>`, a model folder, or a hub id")
    lora: str | None = Field(None, description="an adapter's folder or hub id")
    replicas: Annotated[tuple[PositiveInt, PositiveInt], as_pair_of(PositiveInt)] = Field(
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

    @model_validator(mode="after")
    def _sampling_is_further(self) -> Teacher:
        if refused := sorted(NOT_FURTHER & self.sampling.keys()):
            raise ValueError(
                f"sampling cannot hold {refused}: temperature, top_p and max_tokens are the teacher's own, num_samples asks several times, "
                "each answer has its own seed, and none is stopped by text"
            )
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

    model_config = ConfigDict(json_schema_extra=may_lack("traces"))

    preset: str | None = Field(None, exclude=True, description="a shipped set of traces, of which what is not set here comes")
    traces: str = Field(description="a file path or URL (jsonl, json, csv, parquet), or `hf:<data set id>`")
    split: str = Field("train", description="of a hub data set")
    columns: TraceColumns = Field(default_factory=lambda: TraceColumns())
    response_after: Annotated[str, Field(min_length=1)] | None = Field(
        None, description="the response is what follows the last of this text: for transcripts"
    )
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


_Asked = Annotated[Annotated[Teacher, Tag("vllm")] | Annotated[RemoteTeacher, Tag("remote")], Discriminator(_kind_of_teacher)]
_Any = Annotated[
    Annotated[Teacher, Tag("vllm")] | Annotated[RemoteTeacher, Tag("remote")] | Annotated[ImportedTeacher, Tag("imported")],
    Discriminator(_kind_of_teacher),
]
_Shipped = Annotated[str, Field(json_schema_extra={"enum": sorted(TEACHERS)})]
AskedTeacher = Annotated[_Asked, BeforeValidator(filled_teacher, json_schema_input_type=_Asked | _Shipped)]
AnyTeacher = Annotated[_Any, BeforeValidator(filled_teacher, json_schema_input_type=_Any | _Shipped)]


class LlmJudge(Part):
    """A second opinion on answers the rule cannot tell, or does not hold for right; kept beside the rule's verdict."""

    model_config = ConfigDict(json_schema_extra=may_lack("teacher"))

    teacher: AskedTeacher = Field(description="who is asked; `vllm` and endpoints alike")
    asked: Literal["unknown", "not_right"] = Field("unknown", description="not_right is the paper's: every row the rule does not accept")

    @model_validator(mode="after")
    def _is_asked_once(self) -> LlmJudge:
        if self.teacher.most_samples > 1:
            raise ValueError("a judge gives one opinion on each answer: leave num_samples and until of judge.teacher out")
        return self
