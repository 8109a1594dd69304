"""Repairs of hosts' trainers: each cause is found, repaired, and the repair taken back."""

from __future__ import annotations

import importlib
import io
import pickle
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from shims_on_modules import BY_NAME, applied
from torch import nn

from loreal_plugin.attach.inspect_host import HostInspection
from loreal_plugin.errors import CheckpointError, DataError


def test_prompts_are_not_rounded_in_a_float32_model(fake, tmp_path):
    source = """
from torch import nn
class Block(nn.Linear):
    def forward(self, x):
        return x.half()
"""
    kind, before = fake("clip.fake", source).Block, torch.Tensor.half
    value = torch.full((1,), 0.1)
    assert kind(1, 1)(value).dtype == torch.float16
    with applied("maple-half", tmp_path):
        assert torch.equal(kind(1, 1)(value), value)
        assert kind(1, 1).half()(value).dtype == torch.float16
        mixed = kind(1, 1)
        mixed.bias.data = (
            mixed.bias.data.half()
        )  # what CLIP's convert_weights leaves: some in float32
        assert mixed(value).dtype == torch.float16
        assert value.half().dtype == torch.float16
    assert torch.Tensor.half is before and kind(1, 1)(value).dtype == torch.float16


LEARNER = """
import torch
from torch import nn
class MultiModalPromptLearner(nn.Module):
    def __init__(self, cfg, classnames, clip_model):
        super().__init__()
        width = clip_model.ln_final.weight.shape[0]
        self.proj = nn.Linear(width, 768).half()
        self.compound_prompts_text = nn.ParameterList(
            [nn.Parameter(torch.ones(2, 512)) for _ in range(3)]
        )
        self.compound_prompt_projections = nn.ModuleList(nn.Linear(width, 768) for _ in range(3))
"""


@pytest.mark.parametrize("text, image", [(512, 768), (24, 16)])
@pytest.mark.parametrize("name, more", [("maple", ()), ("copied", ("teacher",))])
def test_prompts_take_the_widths_of_the_clip(fake, tmp_path, text, image, name, more):
    source = LEARNER.replace("clip_model):", ", ".join(["clip_model", *more]) + "):")
    learner = fake(f"trainers.{name}", source).MultiModalPromptLearner
    visual = SimpleNamespace(conv1=nn.Conv2d(3, image, 4))
    clip_model = SimpleNamespace(ln_final=nn.LayerNorm(text), visual=visual)
    clip_model.dtype = torch.float16
    with (
        applied("maple-proj", tmp_path),
        applied("maple-width", tmp_path),
    ):  # both at the same function
        made = learner(None, [], clip_model, *more)
    assert (
        made.proj(torch.ones(2, text).half()).shape == (2, image)
        and made.proj.weight.dtype == torch.float16
    )
    shapes = [
        (tuple(p.shape), layer.weight.shape)
        for p, layer in zip(
            made.compound_prompts_text, made.compound_prompt_projections, strict=True
        )
    ]
    assert shapes == [((2, text), (image, text))] * 3
    assert all(
        torch.equal(p, torch.ones(2, 512)) == (text == 512) for p in made.compound_prompts_text
    )
    assert learner(None, [], clip_model, *more).proj.out_features == 768


ENGINE = """
class SimpleTrainer:
    def after_train(self):
        print("Finish training")
"""


def test_the_line_that_a_parser_waits_for_is_printed(fake, tmp_path, capsys):
    trainer = fake("dassl.engine.trainer", ENGINE).SimpleTrainer
    assert not BY_NAME["maple-parser"].needed(
        HostInspection(tmp_path, None, False, [])
    )  # it has no such parser
    (tmp_path / "parse_test_res.py").write_text("end_signal = 'Finished training'")
    with applied("maple-parser", tmp_path):
        trainer().after_train()
        assert capsys.readouterr().out.splitlines() == ["Finished training", "Finish training"]
    trainer().after_train()
    assert capsys.readouterr().out == "Finish training\n"


LISTING = """
import os
class Trainer:
    loaded = None
    def get_model_names(self):
        return ["m"]
    def load_model(self, directory, epoch=None):
        for file in sorted(os.listdir(os.path.join(directory, "m"))):
            self.loaded = file
"""


def test_asked_epoch_is_loaded(fake, tmp_path):
    module = fake("trainers.fake", LISTING)
    (tmp_path / "run" / "m").mkdir(parents=True)
    for epoch in (1, 2, 10):
        (tmp_path / "run" / "m" / f"model.pth.tar-{epoch}").touch()
    trainer, real = module.Trainer(), module.os
    with applied("mmrl-epoch", tmp_path):
        trainer.load_model(str(tmp_path / "run"), epoch=1)
        assert trainer.loaded == "model.pth.tar-1" and module.os is real
        trainer.load_model(str(tmp_path / "run"))
        assert trainer.loaded == "model.pth.tar-2"
        with pytest.raises(CheckpointError, match="epoch 7 was asked for; epochs there: 1, 10, 2"):
            trainer.load_model(str(tmp_path / "run"), epoch=7)


def test_attention_masks_are_put_back(fake, tmp_path):
    block = """
import torch
from torch import nn
class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.attn_mask = torch.zeros(7, 7)
    def forward(self, x):
        self.attn_mask = torch.empty(9, 9).fill_(float("-inf")).triu_(1)
        return x
"""
    encoder = """
from torch import nn
class TextEncoder_X(nn.Module):
    def __init__(self, block):
        super().__init__()
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.Sequential(block)
    def forward(self, x):
        return self.transformer.resblocks(x)
"""
    own = fake("clip.fake", block).Block()
    text_encoder = fake("trainers.fake", encoder).TextEncoder_X(own)
    with applied("mmrl-mask", tmp_path):
        text_encoder(torch.zeros(1))
        assert own.attn_mask.shape == (7, 7)
    text_encoder(torch.zeros(1))
    assert own.attn_mask.shape == (9, 9)


CACHING = """
from torch import nn
class CustomCLIP(nn.Module):
    text_features_for_inference = None
    def forward(self, x):
        if self.text_features_for_inference is None:
            self.text_features_for_inference = x
        return self.text_features_for_inference
class Base:
    def set_model_mode(self, mode="train"):
        pass
    def load_model(self, directory, epoch=None):
        pass
class Trainer(Base):
    def build_model(self):
        self.model = CustomCLIP()
"""


def test_kept_text_features_are_dropped_when_mode_or_weights_change(fake, tmp_path):
    trainer = fake("trainers.fake", CACHING).Trainer()
    trainer.build_model()
    with applied("text-cache", tmp_path):
        assert (trainer.model(1), trainer.model(2)) == (1, 1)
        trainer.set_model_mode("eval")
        assert (trainer.model(2), trainer.model(3)) == (2, 2)
        trainer.load_model("x", epoch=1)
        assert trainer.model(3) == 3
    trainer.set_model_mode("eval")
    assert trainer.model(4) == 3 and "set_model_mode" not in vars(type(trainer))


def test_our_datasets_get_a_template_where_the_table_is_indexed(fake, tmp_path):
    lines = "CUSTOM_TEMPLATES = {'OxfordPets': 'a {}'}\ndef of(name):\n    return CUSTOM_TEMPLATES"
    strict, lenient = (
        fake("trainers.strict", f"{lines}[name]\n"),
        fake("trainers.lenient", f"{lines}.get(name)\n"),
    )
    with applied("templates", tmp_path):
        assert [strict.of(name) for name in ("Demo", "Folder")] == ["a photo of a {}."] * 2
        assert strict.of("OxfordPets") == "a {}" and lenient.of("Demo") is None
    assert list(strict.CUSTOM_TEMPLATES) == ["OxfordPets"]


def test_a_table_of_prompts_is_found_under_any_name(fake, tmp_path):
    lines = "OF_TEACHER = {'OxfordPets': 'a {}'}\nSIZES = {'OxfordPets': '3'}\n"
    lines += "def of(name):\n    return OF_TEACHER[name], SIZES[name]\n"
    host = fake("trainers.two_tables", lines)
    with applied("templates", tmp_path):
        assert host.OF_TEACHER["Folder"] == "a photo of a {}." and list(host.SIZES) == [
            "OxfordPets"
        ]
    assert list(host.OF_TEACHER) == ["OxfordPets"]


class Evil:
    """Would make a folder if it were unpickled for real."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return importlib.import_module("os").mkdir, (self.path,)


def test_few_shot_pickles_hold_pictures_or_are_refused(fake, tmp_path):
    fake("dassl", "")  # pickle imports the package of a class, too
    records = fake("dassl.data.datasets.base_dataset", "class Datum:\n    label = 3\n")
    module = fake("datasets.fake", "import pickle\ndef read(file):\n    return pickle.load(file)\n")
    good = pickle.dumps({"train": [records.Datum()]})
    with applied("fewshot", tmp_path):
        assert module.read(io.BytesIO(good))["train"][0].label == 3
        with pytest.raises(DataError, match="no list of pictures.*was not loaded.*delete it"):
            module.read(io.BytesIO(pickle.dumps(Evil(tmp_path / "made"))))
        with pytest.raises(DataError, match="no list of pictures"):
            module.read(io.BytesIO(good[:-4]))
        assert not (tmp_path / "made").exists() and module.pickle.dumps is pickle.dumps
    assert module.pickle is pickle


def test_task_and_our_trainer_names_reach_a_train_file_that_wants_them(fake, tmp_path):
    source = """
def get_dataset_specified_config(dataset, trainer, task):
    assert trainer in ["MMRL"]
    return [dataset, trainer, task]
def setup_cfg(args):
    task = args.opts[args.opts.index("TASK") + 1]
    return get_dataset_specified_config("Demo", args.trainer, task)
"""
    train = fake("train", source)
    with applied("mmrl-names", tmp_path), applied("mmrl-task", tmp_path):
        assert train.setup_cfg(SimpleNamespace(trainer="MMRL_LOREAL", opts=[])) == [
            "Demo",
            "MMRL",
            "B2N",
        ]
        assert train.setup_cfg(SimpleNamespace(trainer="MMRL", opts=["TASK", "FS"])) == [
            "Demo",
            "MMRL",
            "FS",
        ]
    with pytest.raises(ValueError, match="TASK"):
        train.setup_cfg(SimpleNamespace(trainer="MMRL", opts=[]))


CUDA = """
from torch import nn
def teacher(model, tensor):
    return [model.cuda(), tensor.cuda()]
class Trainer:
    def build_model(self, model):
        def move(part):
            return part.cuda()
        return move(model)
    def asks(self):
        import torch
        return torch.cuda.device_count()
"""


@pytest.mark.skipif(torch.cuda.is_available(), reason="the repair is for machines without CUDA")
def test_what_calls_cuda_stays_where_it_is_whatever_its_name(fake, tmp_path):
    found, model = fake("trainers.cudafake", CUDA), nn.Linear(1, 1)
    asks = vars(found.Trainer)["asks"]
    with pytest.raises((AssertionError, RuntimeError)):
        found.teacher(model, torch.ones(1))
    with applied("cuda", tmp_path):
        assert found.teacher(model, value := torch.ones(1)) == [model, value]
        assert found.Trainer().build_model(model) is model
        assert vars(found.Trainer)["asks"] is asks, "asking torch.cuda is not a call of .cuda()"
    with pytest.raises((AssertionError, RuntimeError)):
        found.Trainer().build_model(model)
