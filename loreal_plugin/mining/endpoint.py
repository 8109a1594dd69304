"""Asking an OpenAI-compatible endpoint through the `openai` SDK; a failure is one clear line."""

from __future__ import annotations

import ipaddress
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from loreal_plugin.errors import MiningError
from loreal_plugin.mining.prompts import Message
from loreal_plugin.mining.transcript import Transcript, request_key
from loreal_plugin.mining.words import tidy

OPENAI_URL = "https://api.openai.com/v1"
KEY_VARIABLE = "OPENAI_API_KEY"
GO_ON = "what was mined so far is kept; run the same command again to go on"
# Parameters that some endpoints refuse by name; without them the question is still the question.
_OPTIONAL = ("response_format", "temperature", "seed")


@dataclass(frozen=True)
class Settings:
    """How to ask: `timeout` in seconds, `requests_per_minute` (0: any), `retries` by the SDK."""

    model: str = "gpt-4o"
    base_url: str = OPENAI_URL
    temperature: float = 0.0
    seed: int = 1
    timeout: float = 120.0
    retries: int = 4
    requests_per_minute: float = 0.0

    @property
    def host(self) -> str:
        """The endpoint's host name, which is all that is ever written of its address."""
        return urlsplit(self.base_url).hostname or ""

    @property
    def is_local(self) -> bool:
        """Whether the endpoint is this machine or a private network: nobody is charged."""
        if self.host == "localhost" or self.host.endswith((".localhost", ".local")):
            return True
        try:
            return ipaddress.ip_address(self.host).is_private
        except ValueError:
            return False


@dataclass(frozen=True)
class Reply:
    """An answer: its text, whether it was cut off, its key in the transcript."""

    text: str
    cut_off: bool
    key: str


def find_key(settings: Settings) -> str:
    """Return the API key of the environment; a local server may do without.

    Raises:
        MiningError: there is none, the address is none, or the key would travel unencrypted.
    """
    parts = urlsplit(settings.base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise MiningError(
            "--base-url is no http(s) address; expected something like http://localhost:11434/v1"
        )
    if parts.username or parts.password or parts.query:
        raise MiningError(
            "--base-url must carry no credentials; put the key into the environment as"
            f" {KEY_VARIABLE}"
        )
    key = os.environ.get(KEY_VARIABLE, "").strip()
    if settings.is_local:
        return key or "none-needed"
    if not key:
        raise MiningError(
            f"{KEY_VARIABLE} is not set; export it, or give --base-url of a local server"
        )
    if parts.scheme == "http":
        raise MiningError(
            f"--base-url of {settings.host} is http: the key would travel unencrypted; use https"
        )
    return key


def scrubber(settings: Settings) -> Callable[[str], str]:
    """Return what removes the API key from a text: a server may send it back."""
    key = os.environ.get(KEY_VARIABLE, "").strip()
    return (lambda text: text.replace(key, "[key]")) if len(key) >= 6 else (lambda text: text)


class Endpoint:
    """Answers from the transcript where it has them, else from the network (never when replaying).

    Args:
        settings: how to ask.
        transcript: where every question and answer is kept.
        replay: answer from the transcript alone.
        before_first: called once before the first question goes out; raises to stop it.
    """

    def __init__(
        self,
        settings: Settings,
        transcript: Transcript,
        *,
        replay: bool = False,
        before_first: Callable[[], None] = lambda: None,
    ) -> None:
        self.settings, self.transcript, self.replay = settings, transcript, replay
        self.before_first: Callable[[], None] | None = before_first
        self._client: Any = None
        self._dropped: set[str] = set()
        self._last_start = float("-inf")
        self._scrub = scrubber(settings)

    def request(self, messages: list[Message], schema: dict[str, Any]) -> dict[str, Any]:
        """Return what identifies a question: all but how the endpoint likes to get its schema."""
        s = self.settings
        return {
            "model": s.model,
            "messages": messages,
            "temperature": s.temperature,
            "seed": s.seed,
            "schema": schema,
        }

    def is_known(self, request: dict[str, Any]) -> bool:
        """Return whether the transcript has an answer."""
        return request_key(request) in self.transcript.answers

    def ask(self, step: str, request: dict[str, Any]) -> Reply:
        """Return the answer to a question.

        Raises:
            MiningError: the endpoint failed, or a replay has no such answer.
        """
        key = request_key(request)
        if key not in self.transcript.answers:
            if self.replay:
                raise MiningError(
                    f"transcript {self.transcript.path} has no answer to a question of step"
                    f" '{step}': it belongs to other classes, prompts or settings, or to a run that"
                    " did not finish; run without --replay"
                )
            self._ask_now(step, key, request)
        answer = self.transcript.answers[key]["answer"]
        return Reply(str(answer["text"]), answer.get("finish_reason") == "length", key)

    def _ask_now(self, step: str, key: str, request: dict[str, Any]) -> None:
        """Ask the endpoint; append the question and its answer or failure to the transcript."""
        openai = import_openai()
        if self._client is None:
            self._client = openai.OpenAI(
                api_key=find_key(self.settings),
                base_url=self.settings.base_url,
                timeout=self.settings.timeout,
                max_retries=self.settings.retries,
            )
        if self.before_first is not None:
            self.before_first()
            self.before_first = None
        common = {"key": key, "step": step, "host": self.settings.host}
        try:
            sent, answer = self._send(openai, request)
        except (openai.OpenAIError, ValueError) as error:
            text = self._scrub(_explain(error, self.settings))
            self.transcript.append(**common, request=request, error=text)
            raise MiningError(f"{text}; {GO_ON}") from error
        self.transcript.append(**common, request=sent, answer=answer)

    def _send(self, openai: Any, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return what was sent and the answer, without the parameters that the endpoint refuses."""
        plain = {name: value for name, value in request.items() if name != "schema"}
        schema = {"name": "answer", "strict": True, "schema": request["schema"]}
        plain["response_format"] = {"type": "json_schema", "json_schema": schema}
        while True:
            sent = {name: value for name, value in plain.items() if name not in self._dropped}
            self._wait()
            try:
                return sent, _plain_answer(self._client.chat.completions.create(**sent))
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refused = [name for name in _OPTIONAL if name in sent and name in str(error)]
                if not refused:
                    raise
                self._dropped |= set(refused)

    def _wait(self) -> None:
        """Keep to the rate limit."""
        if self.settings.requests_per_minute > 0:
            next_start = self._last_start + 60 / self.settings.requests_per_minute
            time.sleep(max(0.0, next_start - time.monotonic()))
        self._last_start = time.monotonic()


def import_openai() -> Any:
    """Return the SDK; MiningError where it is not installed."""
    try:
        import openai
    except ImportError as error:
        raise MiningError(
            "mining needs the openai package: pip install 'loreal-plugin[llm]'"
        ) from error
    return openai


def _plain_answer(completion: Any) -> dict[str, Any]:
    """Return text, finish reason, model and token counts of a completion.

    Raises:
        ValueError: the endpoint sent something else.
    """
    choices = getattr(completion, "choices", None)
    if not choices:
        raise ValueError(
            f"sent no chat completion but {tidy(repr(completion), 120)}; is --base-url right"
            " (.../v1)?"
        )
    message, usage = choices[0].message, getattr(completion, "usage", None)
    if getattr(message, "refusal", None):
        raise ValueError(f"declined to answer: {tidy(message.refusal, 200)}")
    text = getattr(message, "content", None)
    if not isinstance(text, str):
        raise ValueError("sent an answer without text")
    return {
        "text": text,
        "finish_reason": choices[0].finish_reason,
        "model": getattr(completion, "model", None),
        "tokens_in": getattr(usage, "prompt_tokens", None),
        "tokens_out": getattr(usage, "completion_tokens", None),
    }


def _explain(error: Exception, settings: Settings) -> str:
    """Return what went wrong at the endpoint, and what to do."""
    openai = import_openai()
    where, after = f"endpoint {settings.host}", f"after {settings.retries} retries"
    said = tidy(str(error), 200)
    if isinstance(error, openai.APITimeoutError):
        return (
            f"{where} did not answer within {settings.timeout:g} seconds {after}; raise --timeout"
        )
    if isinstance(error, openai.APIConnectionError):
        return (
            f"{where} cannot be reached {after} ({said}); is the server running, is --base-url"
            " right?"
        )
    if isinstance(error, openai.AuthenticationError):
        return f"{where} refuses the key (401): set {KEY_VARIABLE} to a valid one"
    if isinstance(error, openai.RateLimitError):
        return (
            f"{where} says too many requests (429) {after}: {said}; lower --rpm, wait, or check the"
            " quota"
        )
    if isinstance(error, openai.NotFoundError):
        return (
            f"{where} knows no such model or path (404): {said}; check --model '{settings.model}'"
            " and --base-url"
        )
    if isinstance(error, openai.InternalServerError):
        return f"{where} failed ({error.status_code}) {after}: {said}"
    if isinstance(error, openai.OpenAIError):
        return f"{where}: {said}"
    if "sent " in said or "declined" in said:
        return f"{where} {said}"
    return f"{where} sent no JSON ({said}); is --base-url right (.../v1)?"
