"""The local captioner with models of several architectures, and the benchmarks of captions and batches."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any

import model_hub
import pytest
import torch
import transformers
from PIL import Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from bench import batches, captions, corrupted
from captioners import local, sidecar
from iclora.settings import Settings
from miniature.draw import draw
from miniature.world import Character, Scene, describe, draw_scene
from pipeline import task
from pipeline.cache import Cache
from pipeline.captioning import instructions, protocol, replies
from pipeline.captioning.protocol import Answer, Question, Turn
from pipeline.errors import BadInput, MissingWeights
from pipeline.records import Grid, Group, Position, Record
from pipeline.stages import caption
from pipeline.text.counters import ESTIMATE

VLM = Path(__file__).parents[2] / "miniature" / "vlm"
STORYBOARD = task.load("storyboard")
INSTRUCTION = instructions.write(STORYBOARD)


def make(**options: Any) -> local.Local:
    return local.make({"model": str(VLM), "max_new_tokens": 96} | options)


def question(seed: int, width: int = 192, height: int = 96) -> Question:
    """Three drawn panels, one above the other, and their grid."""
    rng = Random(seed)
    panels = tuple(Image.fromarray(draw(draw_scene(rng), size=(width, height))) for _ in STORYBOARD.markers)
    grid = Image.new("RGB", (width, height * len(panels)))
    for number, panel in enumerate(panels):
        grid.paste(panel, (0, height * number))
    return Question(panels, ("", "", ""), STORYBOARD.markers, INSTRUCTION, grid=grid)


QUESTIONS = [question(seed) for seed in range(5)]


@pytest.mark.slow
def test_a_model_of_the_hub_is_downloaded_before_it_is_loaded_and_a_broken_download_continues(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with model_hub.serving(VLM) as hub:
        model_hub.use(hub, tmp_path, monkeypatch)
        hub.breaks = "model.safetensors"
        with pytest.raises(MissingWeights, match=r"some/model.* \(the download broke off at file 6 of 6, model\.safe"):
            make(model=model_hub.MODEL)._loaded  # noqa: B018
        hub.breaks = ""
        hub.sent.clear()
        processor, model = make(model=model_hub.MODEL)._loaded
        assert hub.sent == ["model.safetensors"]
    assert len(processor.tokenizer) and model.config.model_type == "qwen3_vl"
    assert "%|" not in capsys.readouterr().err  # no bar but the console's


@pytest.fixture(scope="module")
def answers() -> list[Answer]:
    return [answer for _, answer in make().ask(QUESTIONS)]


# ---- what is shown


def shown(images: protocol.Images) -> list[str | Image.Image]:
    """The parts of the first turn, texts and pictures in order."""
    (turn,) = protocol.conversation(QUESTIONS[0], images)
    return [part[part["type"]] for part in turn["content"]]


PANELS = [part for pair in zip(STORYBOARD.markers, QUESTIONS[0].panels, strict=True) for part in pair]
WHOLE = ["One picture; its panels, row by row from the left, are [SCENE-1], [SCENE-2], [SCENE-3]:", QUESTIONS[0].grid]


def test_each_panel_follows_its_marker_and_the_instruction_comes_last() -> None:
    assert shown("panels") == [*PANELS, INSTRUCTION]


def test_a_grid_is_shown_alone_with_a_line_on_where_its_panels_are() -> None:
    assert shown("grid") == [*WHOLE, INSTRUCTION]


def test_both_means_the_grid_followed_by_its_panels() -> None:
    assert shown("both") == [*WHOLE, *PANELS, INSTRUCTION]


@pytest.mark.parametrize("images", ["panels", "grid", "both"])
def test_earlier_answers_and_their_faults_follow_the_images(images: protocol.Images) -> None:
    asked = replace(QUESTIONS[0], earlier=(Turn("my answer", ("too thin", "too long")),))
    first, answer, again = protocol.conversation(asked, images)
    assert [first] == protocol.conversation(QUESTIONS[0], images)
    assert answer == {"role": "assistant", "content": [{"type": "text", "text": "my answer"}]}
    assert again["role"] == "user" and "too thin; too long" in again["content"][0]["text"]


def test_a_question_without_a_grid_picture_can_not_be_shown_as_a_grid() -> None:
    with pytest.raises(ValueError, match="images='grid' shows the grid, but the question has none"):
        protocol.conversation(replace(QUESTIONS[0], grid=None), "grid")


def test_the_model_reads_more_tokens_if_it_is_shown_more(answers: list[Answer]) -> None:
    """The miniature reads 32 tokens per picture, panel or grid: 3, 1, and 3 + 1 pictures."""
    read = {images: next(make(images=images).ask(QUESTIONS[:1]))[1].read for images in ("panels", "grid", "both")}
    assert read["panels"] == answers[0].read
    assert read["grid"] < read["panels"] < read["both"]


def test_the_caption_stage_passes_the_grid_and_its_panels(tmp_path: Path) -> None:
    made = task.load("storyboard", ["layout.panel_width=192", "layout.panel_height=96"])
    picture = QUESTIONS[0].grid
    assert picture
    picture.save(tmp_path / "grid.png")
    records = tuple(Record(str(number), "", "", Position()) for number in range(3))
    grid = Grid("g", Group("s", "", records, "", 1), made.grid_layout, "grid.png")
    asked = caption.Asking(caption.Parameters(made, make(), tmp_path, Cache(tmp_path), ESTIMATE, {"g": 0}))._question(
        grid
    )
    assert asked.grid and asked.grid.tobytes() == picture.tobytes()
    assert [panel.tobytes() for panel in asked.panels] == [panel.tobytes() for panel in QUESTIONS[0].panels]


# ---- batches, and where memory ends


class Scarce(local.Local):
    """Runs out of memory with more than `fits` grids at once."""

    fits = 2

    def _answers(self, questions: Any) -> list[Answer]:
        self.tried = [*getattr(self, "tried", []), len(questions)]
        if len(questions) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super()._answers(questions)


def test_questions_beyond_one_batch_are_asked_in_several(answers: list[Answer]) -> None:
    captioner = make(batch=2)
    assert list(captioner.ask(QUESTIONS)) == list(enumerate(answers))


def test_out_of_memory_halves_the_batch_for_good_and_every_grid_is_answered(answers: list[Answer]) -> None:
    captioner = Scarce(local.Options(model=str(VLM), max_new_tokens=96, batch=5))
    assert list(captioner.ask(QUESTIONS)) == list(enumerate(answers))
    assert list(captioner.ask(QUESTIONS[:3])) == list(enumerate(answers[:3]))
    assert captioner.tried == [5, 2, 2, 1, 2, 1]


def test_a_single_grid_that_exceeds_memory_is_reported_with_remedies() -> None:
    captioner = Scarce(local.Options(model=str(VLM)))
    captioner.fits = 0
    with pytest.raises(BadInput, match=r"out of memory on a single grid.*max_pixels=.*quantize=4bit.*model=NAME"):
        list(captioner.ask(QUESTIONS[:3]))
    assert captioner.tried == [3, 1]


# ---- weights in fewer bits


@pytest.mark.skipif(torch.cuda.is_available(), reason="tells what is told where there is no CUDA device")
@pytest.mark.parametrize("quantize", ["8bit", "4bit"])
def test_quantisation_without_a_suitable_device_is_refused_before_any_work(quantize: str) -> None:
    with pytest.raises(
        BadInput, match=rf"captioner.quantize={quantize} needs .* there is no CUDA device.*leave it out"
    ):
        make(quantize=quantize).identity()


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
def test_quantisation_is_configured_as_transformers_expects(bits: str) -> None:
    told = local._quantized(bits, "cuda", torch.float16)
    config = told["quantization_config"].to_dict()
    assert told["device_map"] == "cuda"
    assert (config["load_in_8bit"], config["load_in_4bit"]) == (bits == "8bit", bits == "4bit")
    assert bits == "8bit" or (config["bnb_4bit_quant_type"], config["bnb_4bit_compute_dtype"]) == ("nf4", "float16")


def test_everything_that_changes_answers_is_part_of_the_identity() -> None:
    plain = make().identity()
    assert make(images="both").identity() == plain | {"images": "both"}
    assert make(max_pixels=20000).identity() == plain | {"pixels": 20000}
    assert make(batch=1).identity() == plain


# ---- thinking


@pytest.mark.parametrize(("thinking", "told", "limit"), [("off", False, 192), ("on", True, 192), (100, True, 392)])
def test_the_chat_template_is_told_whether_to_think_and_the_limit_grows_with_it(
    thinking: Any, told: bool, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = make(thinking=thinking)
    processor, model = captioner._loaded
    seen: list[Any] = []
    switched = "{% if enable_thinking %}{% endif %}" + processor.chat_template
    monkeypatch.setattr(processor, "chat_template", switched)
    template, generate = processor.apply_chat_template, model.generate
    monkeypatch.setattr(
        processor, "apply_chat_template", lambda chat, **more: (seen.append(more), template(chat, **more))[1]
    )
    monkeypatch.setattr(model, "generate", lambda **more: (seen.append(more), generate(**more))[1])
    ((_, answer),) = captioner.ask(QUESTIONS[:1])
    assert answer.text and seen[0]["enable_thinking"] is told and seen[1]["max_new_tokens"] == limit
    assert captioner.identity().get("thinking", "off") == thinking


@pytest.mark.parametrize("special", [True, False])
def test_thoughts_are_cut_off_even_if_the_model_marks_them_by_special_tokens(special: bool) -> None:
    marks = ("[THINK]", "[/THINK]")
    words = tokenizer(*marks if special else ())
    ids = words.encode(f"{marks[0]}a draft{marks[1]}a red box<|im_end|>", add_special_tokens=False)
    assert local._without_thoughts(words, ids) == "a red box"
    assert local._without_thoughts(words, words.encode(f"{marks[0]}a draft of", add_special_tokens=False)) == ""


# ---- pixels


def test_a_pixel_budget_saves_tokens_and_a_larger_one_does_not_enlarge_small_panels(answers: list[Answer]) -> None:
    few, many = (next(make(max_pixels=most).ask(QUESTIONS[:1]))[1] for most in (6000, 21504))
    assert few.read < answers[0].read
    assert many == answers[0]


PANEL = Image.new("RGB", (1024, 512))
SQUARE = Image.new("RGB", (1024, 1024))


def tiles_of(processor: Any, most: int, *images: Image.Image) -> list[int]:
    """Pixels in the tiles of each picture under the budget, without the tile that shows the whole."""
    made = processor(
        [list(images)], return_row_col_info=True, return_tensors="pt", **local.pixel_budget(processor, most, images)
    )
    area = made["pixel_values"].shape[-1] ** 2
    return [max(1, rows * cols) * area for rows, cols in zip(made["rows"][0], made["cols"][0], strict=True)]


@pytest.mark.parametrize("most", [1_000_000, 600_000, 512 * 512, 1024])
def test_smolvlm_cuts_a_picture_into_at_least_one_tile_and_at_most_the_budget(most: int) -> None:
    smol = transformers.SmolVLMImageProcessor(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    for images in ([PANEL], [SQUARE], [PANEL, SQUARE]):
        assert max(tiles_of(smol, most, *images)) <= max(most, 512 * 512)


def test_a_budget_of_a_panels_size_avoids_enlarging_it() -> None:
    """1024 x 512 is two tiles of 512; without a budget SmolVLM enlarges it fourfold to eight."""
    smol = transformers.SmolVLMImageProcessor(size={"longest_edge": 2048}, max_image_size={"longest_edge": 512})
    assert tiles_of(smol, 1024 * 512, PANEL) == [2 * 512 * 512]
    assert tiles_of(smol, 10**9, PANEL) == [8 * 512 * 512]


@pytest.mark.parametrize(("kind", "most"), [("Qwen2VLImageProcessor", 200_000), ("Glm4vImageProcessor", 100_000)])
def test_qwen_and_glm_keep_a_panels_size_unless_it_exceeds_the_budget(kind: str, most: int) -> None:
    processor = getattr(transformers, kind)()
    own, lean = (
        int(processor([PANEL], return_tensors="pt", **budget)["image_grid_thw"].prod()) * processor.patch_size**2
        for budget in ({}, local.pixel_budget(processor, 200_000, [PANEL]))
    )
    assert abs(own / (1024 * 512) - 1) < 0.05
    assert 0.75 * most < lean <= most


def test_internvl_cuts_as_many_tiles_as_the_budget_allows() -> None:
    processor = transformers.GotOcr2ImageProcessor(size={"height": 448, "width": 448}, crop_to_patches=True)
    assert local.pixel_budget(processor, 448 * 448 * 3, [PANEL]) == {"max_patches": 3}
    assert local.pixel_budget(processor, 1024, [PANEL]) == {"max_patches": 1}
    assert local.pixel_budget(processor, 10**9, [PANEL]) == {"max_patches": processor.max_patches}


@pytest.mark.parametrize("kind", ["Gemma3ImageProcessor", "CLIPImageProcessor", "AriaImageProcessor"])
def test_a_processor_without_a_budget_is_refused_by_name(kind: str) -> None:
    with pytest.raises(BadInput, match=rf"max_pixels=9999 can't be given to a {kind}.*leave it out"):
        local.pixel_budget(getattr(transformers, kind)(), 9999, [PANEL])


# ---- other architectures: models of a few thousand random weights with their real processors; the answers are junk

TEMPLATE = """{% for message in messages %}<|im_start|>{{ message.role }}
{% for part in message.content %}{% if part.type == 'image' %}IMAGE{% else %}{{ part.text }}{% endif %}{% endfor %}
<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tokenizer(*special: str, **named: str) -> Any:
    """A tokenizer of bytes and a model's special tokens; `named` are those that its processor looks up by name."""
    letters = {letter: number for number, letter in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    made = Tokenizer(models.BPE(vocab=letters, merges=[]))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    made.add_special_tokens(["<pad>", "<|im_start|>", "<|im_end|>", *special, *named.values()])
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="<pad>", eos_token="<|im_end|>", extra_special_tokens=named
    )


LAYERS = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
TEXT = LAYERS | {"num_key_value_heads": 1, "max_position_embeddings": 4096}


def ids(words: Any) -> dict[str, Any]:
    return {"vocab_size": len(words), "pad_token_id": words.pad_token_id, "eos_token_id": words.eos_token_id}


def smolvlm(kind: str) -> tuple[Any, Any]:
    """SmolVLM, or Idefics3, on which it is based."""
    rows = [f"<row_{row}_col_{col}>" for row in range(1, 7) for col in range(1, 7)]
    words = tokenizer(
        *rows,
        "<global-img>",
        image_token="<image>",
        fake_image_token="<fake_token_around_image>",
        end_of_utterance_token="<end_of_utterance>",
    )
    config = getattr(transformers, f"{kind}Config")(
        vision_config=LAYERS | {"image_size": 64, "patch_size": 16},
        text_config={"model_type": "llama"} | TEXT | ids(words),
        image_token_id=words.convert_tokens_to_ids("<image>"),
        pad_token_id=words.pad_token_id,
        scale_factor=2,
    )
    look = {"size": {"longest_edge": 128}, "max_image_size": {"longest_edge": 64}}
    parts = [getattr(transformers, f"{kind}ImageProcessor")(**look), words]
    if kind == "SmolVLM":
        parts.append(transformers.SmolVLMVideoProcessor(**look))
    processor = getattr(transformers, f"{kind}Processor")(
        *parts, image_seq_len=4, chat_template=TEMPLATE.replace("IMAGE", "<image>")
    )
    return processor, getattr(transformers, f"{kind}ForConditionalGeneration")(config)


def qwen(_: str) -> tuple[Any, Any]:
    seen = ("<|vision_start|>", "<|image_pad|>", "<|vision_end|>")
    words = tokenizer(*seen, "<|video_pad|>")
    start, image, end, video = words.convert_tokens_to_ids([*seen, "<|video_pad|>"])
    config = transformers.Qwen2_5_VLConfig(
        vision_config=LAYERS
        | {"depth": 2, "num_heads": 2, "out_hidden_size": 32, "window_size": 56, "fullatt_block_indexes": [1]},
        text_config=TEXT | ids(words) | {"rope_parameters": {"rope_type": "default", "mrope_section": [4, 2, 2]}},
        vision_start_token_id=start,
        vision_end_token_id=end,
        image_token_id=image,
        video_token_id=video,
    )
    processor = transformers.Qwen2_5_VLProcessor(
        transformers.Qwen2VLImageProcessor(),
        words,
        transformers.Qwen2VLVideoProcessor(),
        chat_template=TEMPLATE.replace("IMAGE", "".join(seen)),
    )
    return processor, transformers.Qwen2_5_VLForConditionalGeneration(config)


def llava(_: str) -> tuple[Any, Any]:
    words = tokenizer(image_token="<image>")
    config = transformers.LlavaConfig(
        vision_config={"model_type": "clip_vision_model"} | LAYERS | {"image_size": 64, "patch_size": 16},
        text_config={"model_type": "llama"} | TEXT | ids(words),
        image_token_index=words.convert_tokens_to_ids("<image>"),
        image_seq_length=16,
    )
    look = transformers.CLIPImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64})
    processor = transformers.LlavaProcessor(
        look,
        words,
        patch_size=16,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE.replace("IMAGE", "<image>"),
    )
    return processor, transformers.LlavaForConditionalGeneration(config)


ARCHITECTURES: dict[str, Callable[[str], tuple[Any, Any]]] = {
    "SmolVLM": smolvlm,
    "Idefics3": smolvlm,
    "Qwen2_5_VL": qwen,
    "Llava": llava,
}


@pytest.fixture(params=ARCHITECTURES)
def architecture(request: pytest.FixtureRequest, tmp_path: Path) -> SimpleNamespace:
    torch.manual_seed(0)
    processor, model = ARCHITECTURES[request.param](request.param)
    processor.save_pretrained(tmp_path)
    model.save_pretrained(tmp_path)
    return SimpleNamespace(name=request.param, folder=str(tmp_path))


def test_other_architectures_answer_every_grid_in_every_image_mode(architecture: SimpleNamespace) -> None:
    read = {}
    for images in ("panels", "grid", "both"):
        captioner = make(model=architecture.folder, max_new_tokens=32, images=images, batch=2)
        came = list(captioner.ask(QUESTIONS[:3]))
        assert [place for place, _ in came] == [0, 1, 2]
        assert all(0 < answer.tokens <= 64 and not answer.failure for _, answer in came)
        assert dict(came)[2] == next(captioner.ask(QUESTIONS[2:3]))[1]
        read[images] = came[0][1].read
    assert read["grid"] < read["both"] and read["panels"] < read["both"]


def test_a_pixel_budget_reaches_other_architectures_or_is_refused(architecture: SimpleNamespace) -> None:
    asked = [question(0, 448, 224)]
    own, lean = (make(model=architecture.folder, max_new_tokens=32, max_pixels=most) for most in (None, 4096))
    if architecture.name == "Llava":
        with pytest.raises(BadInput, match="max_pixels=4096 can't be given to a CLIPImageProcessor"):
            list(lean.ask(asked))
    else:
        assert next(lean.ask(asked))[1].read < next(own.ask(asked))[1].read


# ---- texts that exist


def test_panel_texts_with_markers_are_joined_unchanged() -> None:
    texts = ("[SCENE-1] a man reads", "[SCENE-2] rain falls", "[SCENE-3] a dog waits")
    (_, answer) = next(sidecar.make({}).ask([replace(QUESTIONS[0], texts=texts)]))
    assert answer.text == "[SCENE-1] a man reads [SCENE-2] rain falls [SCENE-3] a dog waits"
    assert replies.read(answer.text, STORYBOARD).panels == ("a man reads", "rain falls", "a dog waits")


# ---- what the benches count

SCENES = (
    Scene(Character("rabbit", "red", "hat"), "beach", "kite", "wide"),
    Scene(Character("cat", "blue", "cape"), "moon", "icecream", "close"),
)
ATTRIBUTES = ("kind", "colour", "worn", "place", "action", "shot")


@pytest.mark.parametrize("wording", range(5))
def test_every_wording_of_the_film_world_counts_as_correct(wording: int) -> None:
    rng = Random(wording)
    scenes = [draw_scene(rng) for _ in range(40)]
    verdicts = captions.judge([describe(scene, "Mara", wording) for scene in scenes], scenes)
    assert len(verdicts) == 40 * len(ATTRIBUTES) and all(verdict.correct for verdict in verdicts)


@pytest.mark.parametrize(
    ("attribute", "text", "values"),
    [
        ("colour", "a small red cartoon rabbit under a blue sky by a green palm", {"red"}),
        ("colour", "under a blue sky stands a figure", {"blue"}),
        ("colour", "a rabbit under a blue sky", set()),
        ("kind", "two Bunnys and <Bear> with a catalogue", {"rabbit"}),
        ("worn", "a rabbit wearing a crown and a cloak", {"crown", "cape"}),
        ("place", "snow lies on a mountain under the moonlight", {"mountains"}),
        ("action", "she licks an ice-cream and paints", {"icecream", "easel"}),
        ("shot", "a medium close-up, eyes wide open", {"close"}),
        ("shot", "seen in a wide-angle view", {"wide"}),
    ],
)
def test_values_are_found_in_other_models_wordings(attribute: str, text: str, values: set[str]) -> None:
    assert captions.stated(text, attribute) == values


def test_a_handwritten_caption_gets_the_expected_rates() -> None:
    """Panel 1 lacks the hat and confuses the beach with a farm; panel 2 is correct but has one action too many."""
    texts = (
        "A wide shot of a red rabbit that is flying a kite on the farm",
        "a close-up: a blue cat in a cape eats an ice cream on the moon beside a drum",
    )
    verdicts = captions.judge(texts, SCENES)
    wrong = {(v.attribute, v.panel): (v.omitted, v.hallucinated) for v in verdicts if not v.correct}
    assert wrong == {("worn", 1): (True, False), ("place", 1): (True, True), ("action", 2): (False, True)}
    assert captions.rate(verdicts, "correct") == 9 / 12
    assert captions.rate(verdicts, "correct", panel=1) == 4 / 6
    assert captions.rate(verdicts, "omitted", "worn") == 1 / 2
    assert captions.rate(verdicts, "omitted", panel=2) == 0
    assert captions.rate(verdicts, "hallucinated", "action", 2) == 1
    assert captions.table(verdicts).splitlines()[1:] == [
        "panel           1      2    all        1      2    all        1      2    all",
        "kind       100.0% 100.0% 100.0%     0.0%   0.0%   0.0%     0.0%   0.0%   0.0%",
        "colour     100.0% 100.0% 100.0%     0.0%   0.0%   0.0%     0.0%   0.0%   0.0%",
        "worn         0.0% 100.0%  50.0%     0.0%   0.0%   0.0%   100.0%   0.0%  50.0%",
        "place        0.0% 100.0%  50.0%   100.0%   0.0%  50.0%   100.0%   0.0%  50.0%",
        "action     100.0%   0.0%  50.0%     0.0% 100.0%  50.0%     0.0%   0.0%   0.0%",
        "shot       100.0% 100.0% 100.0%     0.0%   0.0%   0.0%     0.0%   0.0%   0.0%",
        "all         66.7%  83.3%  75.0%    16.7%  16.7%  16.7%    33.3%   0.0%  16.7%",
    ]


def test_an_empty_text_omits_everything_and_hallucinates_nothing() -> None:
    verdicts = captions.judge(["", ""], SCENES)
    assert captions.rate(verdicts, "omitted") == 1 and captions.rate(verdicts, "hallucinated") == 0


@pytest.mark.slow
def test_any_captioner_can_be_measured_through_the_caption_stage(tmp_path: Path) -> None:
    """True answers are all correct; a wrong place in one answer is the only error."""
    run, truths = corrupted.build(tmp_path, films=1)
    told = [[describe(scene) for scene in truth.scenes] for truth in truths]
    place = truths[0].scenes[2].place
    other = "library" if place != "library" else "kitchen"
    told[0][2] = describe(replace(truths[0].scenes[2], place=other))
    answers = [json.dumps({"summary": "a story", "panels": [{"text": text} for text in texts]}) for texts in told]
    settings = Settings(
        task="storyboard",
        captioner="scripted",
        overrides=(f"captioner.answers={json.dumps(answers)}", "caption.attempts=1"),
    )
    verdicts, made, _ = captions.measure(run, truths, settings)
    assert len(made) == len(truths) > 1
    wrong = [verdict for verdict in verdicts if not verdict.correct]
    assert wrong == [captions.Verdict("place", 3, omitted=True, hallucinated=True)]


def test_batched_and_single_questions_are_timed_on_the_same_grids_with_equal_answers() -> None:
    captioner, questions = make(batch=3), batches.ask_for(3)
    assert [panel.size for panel in questions[0].panels] == [(1024, 512)] * 3
    (together, some), (alone, single) = batches.timed(
        [lambda: batches.in_batches(captioner, questions), lambda: batches.one_by_one(captioner, questions)]
    )
    assert some == single and len(some) == 3
    assert 0 < together < 60 and 0 < alone < 60
