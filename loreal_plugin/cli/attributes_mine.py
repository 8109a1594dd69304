"""`loreal attributes mine`: an attribute file from a language model, resumable and repeatable."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

EPILOG = """\
The API key comes from OPENAI_API_KEY alone; a local server needs none. An interrupted run goes on
where it was when the same command is run again: every answer is in the transcript
(<out>.transcript.jsonl).

examples:
  loreal attributes mine --dataset oxford_pets --k 5
  loreal attributes mine --classnames birds.txt --domain bird --model llama3.1 --base-url http://localhost:11434/v1
  loreal attributes mine --replay birds.transcript.jsonl --out again.json
"""


def add_mine(actions: Any) -> None:
    """Add the action."""
    parser = actions.add_parser(
        "mine",
        help="ask a language model for attributes",
        epilog=EPILOG,
    )
    parser.add_argument(
        "--dataset", metavar="NAME", help="class names of its attribute file, or of DATA"
    )
    parser.add_argument(
        "--classnames", metavar="FILE", help="class names, one a line or a JSON list"
    )
    parser.add_argument("--domain", metavar="WORD", help="what the classes are kinds of, e.g. pet")
    parser.add_argument("--k", type=int, default=5, help="attributes to keep (%(default)s)")
    parser.add_argument(
        "--n-content",
        type=int,
        default=2,
        help="content tokens in a slot, for the token budget (2)",
    )
    parser.add_argument(
        "--batch", type=int, default=8, help="classes in a question of step 1 (%(default)s)"
    )
    _add_endpoint(parser)
    parser.add_argument(
        "--yes", action="store_true", help="do not ask before the first paid question"
    )
    parser.add_argument("--out", metavar="FILE", help="attribute file to write (./<dataset>.json)")
    parser.add_argument("--force", action="store_true", help="replace the file if it exists")
    parser.add_argument(
        "--transcript", metavar="FILE", help="questions and answers (<out>.transcript.jsonl)"
    )
    parser.add_argument(
        "--replay", metavar="FILE", help="repeat the run of a transcript, without network"
    )
    parser.add_argument("--data", help="folder that holds the datasets (DATA)")
    parser.set_defaults(run=run_mine)


def _add_endpoint(parser: argparse.ArgumentParser) -> None:
    """Add what says which model is asked, and how."""
    parser.add_argument("--model", default="gpt-4o", help="(%(default)s)")
    parser.add_argument(
        "--base-url", help="OpenAI-compatible endpoint (OPENAI_BASE_URL; OpenAI's own)"
    )
    parser.add_argument("--temperature", type=float, default=0.0, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="(%(default)s)")
    parser.add_argument(
        "--timeout", type=float, default=120.0, help="seconds a question may take (%(default)s)"
    )
    parser.add_argument(
        "--retries", type=int, default=4, help="retries a question, with back-off (%(default)s)"
    )
    parser.add_argument(
        "--rpm", type=float, default=0.0, help="most questions a minute; 0 = no limit (%(default)s)"
    )
    parser.add_argument(
        "--price", type=float, nargs=2, metavar=("IN", "OUT"), help="US dollars a million tokens"
    )


def run_mine(args: argparse.Namespace) -> int:
    """Mine, write the file, print the attributes."""
    from loreal_plugin.mining.attribute_file import refuse_overwriting
    from loreal_plugin.mining.endpoint import scrubber
    from loreal_plugin.mining.transcript import Transcript, held

    if args.replay:
        transcript = Transcript(_existing(args.replay), read_only=True)
        task, settings = _replayed(transcript)
    else:
        task, settings = _task(args), _settings(args)
    out = Path(args.out or f"{task.dataset}.json").expanduser()
    refuse_overwriting(out, args.force)
    if args.replay:
        return _mine(args, task, settings, transcript, out)
    path = (
        Path(args.transcript).expanduser()
        if args.transcript
        else out.with_suffix(".transcript.jsonl")
    )
    with held(path):
        transcript = Transcript(path, scrub=scrubber(settings))
        transcript.begin(task.as_dict() | {"settings": _kept(settings)})
        return _mine(args, task, settings, transcript, out)


def _mine(args: argparse.Namespace, task: Any, settings: Any, transcript: Any, out: Path) -> int:
    """Ask or replay, and write `out`."""
    from tqdm import tqdm

    from loreal_plugin.mining.attribute_file import write_attribute_file
    from loreal_plugin.mining.cost import confirm, find_price
    from loreal_plugin.mining.endpoint import Endpoint
    from loreal_plugin.mining.pipeline import estimate, mine

    if transcript.damaged:
        print(f"{transcript.damaged} line(s) of {transcript.path} are cut off and left out")
    endpoint = Endpoint(settings, transcript, replay=bool(args.replay))
    with tqdm(total=len(task.classnames), desc="classes", file=sys.stderr, disable=None) as bar:

        def before_first() -> None:
            price, local = find_price(settings.model, args.price), settings.is_local
            confirm(
                estimate(task, endpoint),
                settings.model,
                price,
                yes=args.yes,
                local=local,
                say=bar.write,
            )

        endpoint.before_first = before_first
        content = mine(task, endpoint, say=bar.write, progress=bar.update)
    write_attribute_file(out, content, force=args.force)
    for word in content["attributes"]:
        print(f"  {word}: {content['reasons'][word]}")
    print(f"vanished: {', '.join(content['rejected'])}")
    print(f"written: {out}; use it with TRAINER.LOREAL.ATTRIBUTES {out}")
    return 0


def _existing(path: str) -> Path:
    from loreal_plugin.errors import MiningError

    found = Path(path).expanduser()
    if not found.is_file():
        raise MiningError(f"transcript {found} does not exist")
    return found


def _task(args: argparse.Namespace) -> Any:
    """Return what to mine; MiningError where the command line does not say it."""
    from loreal_plugin.errors import MiningError
    from loreal_plugin.mining.attribute_file import read_attribute_file, read_class_list
    from loreal_plugin.mining.labelled_pictures import dataset_classnames
    from loreal_plugin.mining.pipeline import Task

    if bool(args.dataset) == bool(args.classnames):
        raise MiningError(
            "say what to mine: --dataset NAME, or --classnames FILE with --domain WORD"
        )
    if min(args.k, args.batch, args.n_content) < 1:
        raise MiningError("--k, --batch and --n-content must be at least 1")
    domain = (args.domain or "").strip()
    if args.classnames:
        path = Path(args.classnames).expanduser()
        if not domain:
            raise MiningError(
                "--classnames needs --domain WORD: what the classes are kinds of, e.g. bird"
            )
        name, names = path.stem, read_class_list(path)
    else:
        name, file = args.dataset, read_attribute_file("", args.dataset)
        known = not file.words.fallback
        names = (file.classnames if known else []) or dataset_classnames(name, args.data)
        domain = domain or (file.words.domain if known else name)
    unique = tuple(dict.fromkeys(names))
    return Task(name, domain, unique, k=args.k, batch=args.batch, n_content=args.n_content)


def _settings(args: argparse.Namespace) -> Any:
    from loreal_plugin.errors import MiningError
    from loreal_plugin.mining.endpoint import OPENAI_URL, Settings

    if args.timeout <= 0 or args.retries < 0 or args.rpm < 0:
        raise MiningError("--timeout must be above 0, --retries and --rpm must not be negative")
    return Settings(
        model=args.model,
        base_url=args.base_url or os.environ.get("OPENAI_BASE_URL") or OPENAI_URL,
        temperature=args.temperature,
        seed=args.seed,
        timeout=args.timeout,
        retries=args.retries,
        requests_per_minute=args.rpm,
    )


def _kept(settings: Any) -> dict[str, Any]:
    """Return the settings that a question consists of."""
    return {"model": settings.model, "temperature": settings.temperature, "seed": settings.seed}


def _replayed(transcript: Any) -> tuple[Any, Any]:
    """Return task and settings of a transcript; MiningError where it has none."""
    from loreal_plugin.errors import MiningError
    from loreal_plugin.mining.endpoint import Settings
    from loreal_plugin.mining.pipeline import Task

    try:
        found = dict(transcript.task)
        settings = Settings(**found.pop("settings"))
        return Task(**found | {"classnames": tuple(found["classnames"])}), settings
    except (TypeError, KeyError) as error:
        raise MiningError(
            f"transcript {transcript.path} does not say what was mined; was it cut?"
        ) from error
