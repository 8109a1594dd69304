"""Mining in three steps: describe the classes, propose attributes, check them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from loreal_plugin.errors import MiningError
from loreal_plugin.mining import prompts
from loreal_plugin.mining.answers import AnswerFault, Proposal, read_descriptions, read_proposal
from loreal_plugin.mining.cost import (
    TOKENS_PER_ATTRIBUTE,
    TOKENS_PER_DESCRIPTION,
    Estimate,
    count_text,
)
from loreal_plugin.mining.endpoint import GO_ON, Endpoint
from loreal_plugin.mining.prompt_tokens import budget_fault

ATTRIBUTE_SCHEMA_VERSION = 1
# Step 2 reads this many descriptions, an even choice of more classes: it fits any context.
MAX_CONTEXT_CLASSES = 150
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Task:
    """What is mined: `k` attributes for the classes of a dataset, described `batch` at a time."""

    dataset: str
    domain: str
    classnames: tuple[str, ...]
    k: int = 5
    batch: int = 8
    n_content: int = 2

    def as_dict(self) -> dict[str, Any]:
        """Return the task in JSON's types."""
        return asdict(self) | {"classnames": list(self.classnames)}


@dataclass
class _Job:
    """One question of step 1; `faults` are those of the answer it repeats."""

    names: list[str]
    faults: list[str] = field(default_factory=list)


def mine(
    task: Task,
    endpoint: Endpoint,
    *,
    say: Callable[[str], None] = lambda text: None,
    progress: Progress = lambda n: None,
) -> dict[str, Any]:
    """Return the content of an attribute file; questions the transcript can answer are not asked.

    Args:
        say: takes one line a notable event.
        progress: takes the number of classes described since the last call.

    Raises:
        MiningError: the endpoint failed, or an answer stayed unusable after it was asked for again.
    """
    descriptions = _describe_all(task, endpoint, say, progress)
    proposal, key = _propose(task, endpoint, descriptions, say)
    source = endpoint.transcript.answers[key]
    return {
        "schema_version": ATTRIBUTE_SCHEMA_VERSION,
        "dataset": task.dataset,
        "domain": task.domain,
        "attributes": list(proposal.kept),
        "reasons": proposal.kept,
        "rejected": proposal.vanished,
        "values": proposal.values,
        "descriptions": descriptions,
        "classnames": list(task.classnames),
        "provenance": {
            "how": "mined",
            "model": endpoint.settings.model,
            "date": source["time"][:10],
            "prompt_sha256": prompts.prompts_sha256(),
            "base_url": source["host"],
        },
    }


def estimate(task: Task, endpoint: Endpoint) -> Estimate:
    """Return the cost of the questions without an answer in the transcript; step 2 counts once."""
    pending = []
    for names in _batches(task):
        messages = prompts.describe_messages(task.domain, names)
        if not endpoint.is_known(endpoint.request(messages, prompts.describe_schema())):
            pending.append((count_text(messages), len(names) * TOKENS_PER_DESCRIPTION))
    context = min(len(task.classnames), MAX_CONTEXT_CLASSES) * TOKENS_PER_DESCRIPTION
    last = count_text(prompts.propose_messages(task.domain, {}, task.k)) + context
    tokens_out = sum(out for _, out in pending) + 2 * task.k * TOKENS_PER_ATTRIBUTE
    return Estimate(len(pending) + 1, sum(n for n, _ in pending) + last, tokens_out)


def _batches(task: Task) -> list[list[str]]:
    names = list(task.classnames)
    return [names[i : i + task.batch] for i in range(0, len(names), task.batch)]


# ---- step 1 --------------------------------------------------------------------------------------


def _describe_all(
    task: Task, endpoint: Endpoint, say: Callable[[str], None], progress: Progress
) -> dict[str, str]:
    """Return the descriptions of all classes, in their order."""
    found: dict[str, str] = {}
    failed: list[str] = []
    jobs = deque(_Job(names) for names in _batches(task))
    while jobs:
        job = jobs.popleft()
        described, rest, failure = _describe(task, endpoint, job)
        found |= described
        progress(len(described))
        if failure and rest:
            say(f"step 1: asked again, because {failure}")
        elif failure:
            failed.append(failure)
        jobs.extendleft(reversed(rest))
    if failed:
        shown = "; ".join(failed[:3]) + (f"; and {len(failed) - 3} more" if len(failed) > 3 else "")
        raise MiningError(f"step 1 (descriptions) is not complete: {shown}; {GO_ON}")
    return {name: found[name] for name in task.classnames}


def _describe(task: Task, endpoint: Endpoint, job: _Job) -> tuple[dict[str, str], list[_Job], str]:
    """Ask one question; return what was described, what to ask next, and what was wrong.

    A cut-off answer halves the question. Any other fault is named to the model once; then it is a
    failure.
    """
    messages = prompts.describe_messages(task.domain, job.names, job.faults)
    reply = endpoint.ask("describe", endpoint.request(messages, prompts.describe_schema()))
    described: dict[str, str] = {}
    missing, faults = job.names, []
    if reply.cut_off:
        faults = ["it was cut off at the endpoint's limit of tokens"]
        if len(job.names) > 1:
            half = (len(job.names) + 1) // 2
            return {}, [_Job(job.names[:half]), _Job(job.names[half:])], f"the answer: {faults[0]}"
    else:
        try:
            answer = read_descriptions(reply.text, job.names)
            described, missing, faults = answer.found, answer.missing, answer.faults
        except AnswerFault as fault:
            faults = [str(fault)]
    if not missing:
        return described, [], ""
    why = f"the answer about {_some(missing)}: {'; '.join(faults)}"
    if not job.faults:
        return described, [_Job(list(missing), faults)], why
    endpoint.transcript.discard(reply.key, why)
    return described, [], why


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:3])
    return shown + (f" and {len(names) - 3} more" if len(names) > 3 else "")


# ---- steps 2 and 3 -------------------------------------------------------------------------------


def _propose(
    task: Task, endpoint: Endpoint, descriptions: dict[str, str], say: Callable[[str], None]
) -> tuple[Proposal, str]:
    """Return checked attributes and the key of their answer; faults are named to the model once."""
    step = max(1.0, len(descriptions) / MAX_CONTEXT_CLASSES)
    chosen = [
        list(descriptions)[int(i * step)]
        for i in range(min(len(descriptions), MAX_CONTEXT_CLASSES))
    ]
    context = {name: descriptions[name] for name in chosen}
    faults: list[str] = []
    for attempt in (1, 2):
        messages = prompts.propose_messages(task.domain, context, task.k, faults)
        reply = endpoint.ask("propose", endpoint.request(messages, prompts.propose_schema()))
        proposal, faults = _read(task, reply)
        if not faults and proposal is not None:
            return proposal, reply.key
        if attempt == 1:
            say(f"steps 2 and 3: asked again, because {'; '.join(faults)}")
    why = "; ".join(faults)
    endpoint.transcript.discard(reply.key, why)
    raise MiningError(f"steps 2 and 3 (attributes): the answer stayed unusable: {why}; {GO_ON}")


def _read(task: Task, reply: Any) -> tuple[Proposal | None, list[str]]:
    """Return the attributes of an answer and everything that is wrong with them: step 3."""
    if reply.cut_off:
        return None, ["it was cut off at the endpoint's limit of tokens; reasons must be shorter"]
    try:
        proposal, faults = read_proposal(reply.text, task.k, task.classnames, task.domain)
    except AnswerFault as fault:
        return None, [str(fault)]
    if not faults:
        too_long = budget_fault(list(proposal.kept), task.classnames, n_content=task.n_content)
        faults = [too_long] if too_long else []
    return proposal, faults
