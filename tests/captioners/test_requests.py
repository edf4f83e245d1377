"""Requests that are too large, refused by every server of a kind, or sent to the wrong place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from asking import answers_of, ask, make, opened, run
from endpoint import GOOD, Handler, Reaction, completion, fails, pictures, sends, serving
from PIL import Image

from captioners import server
from iclora import open_run
from miniature.film import picture as write_picture
from miniature.world import draw_scene
from pipeline.captioning.protocol import Question
from pipeline.errors import BadInput

PAGE = b"<html>\r\n<head><title>413 Request Entity Too Large</title></head>\r\n<body><h1>413</h1></body></html>"


SIDE = 600


def grainy(number: int = 0, side: int = SIDE) -> Question:
    rng = Random(number)
    panels = tuple(Image.frombytes("RGB", (side, side), rng.randbytes(3 * side * side)) for _ in range(3))
    return Question(panels, ("",) * 3, ("[A]", "[B]", "[C]"), "Look.")


def at_most(size: int, refusal: Reaction) -> Reaction:
    def react(handler: Handler) -> None:
        if sum(map(len, pictures(handler.body))) > size:
            refusal(handler)
        else:
            handler.reply(completion(GOOD))

    return react


@pytest.mark.parametrize(
    "refusal",
    [
        lambda handler: handler.reply(PAGE, 413, {"Content-Type": "text/html"}),
        sends(b'{"error": {"message": "payload too large", "code": 413}}'),
        fails(400, "The decoder prompt is longer than the maximum model length of 8192."),
        fails(400, "This model's maximum context length is 8192 tokens, but the request has 9000."),
        fails(400, "'max_tokens' is too large: 768. This model's maximum context length is 8192 tokens."),
        fails(400, "input length and `max_tokens` exceed context limit: 9000 + 768 > 8192"),
        fails(400, "messages.0.content.1.image: image exceeds 5 MB maximum: 6291456 bytes > 5242880 bytes"),
        fails(400, "Request payload size exceeds the limit: 20971520 bytes."),
        fails(400, "Image resolution too high: 40000000 pixels; max is 33177600 pixels"),
        fails(422, "Input validation error: `inputs` must have less than 4095 tokens. Given: 6000"),
        fails(501, "PayloadTooLargeError: request entity too large", {"x-should-retry": "false"}),
        sends(b'{"error": {"message": "context length exceeded", "code": "context_length_exceeded"}}'),
    ],
)
def test_pictures_are_sent_smaller_until_they_fit(refusal: Reaction) -> None:
    with serving(default=at_most(600_000, refusal)) as endpoint:
        captioner = make(endpoint, concurrency=1, schema="none")
        assert [answer.text for answer in answers_of(captioner, [grainy(0), grainy(1)])] == [GOOD, GOOD]
        sides = [opened(pictures(body)[0]).width for body in endpoint.bodies]
    # A question of about the size that was refused is sent smaller at once.
    assert sides[0] == SIDE and sides[1] < SIDE and len(sides) <= 5 and sides[-1] < SIDE


def test_a_server_that_finds_everything_too_large_is_reported_with_ways_on(tmp_path: Path) -> None:
    with serving(default=lambda handler: handler.reply(PAGE, 413)) as endpoint:
        with pytest.raises(BadInput) as told:
            run(tmp_path, make(endpoint), 20)
        assert sum(endpoint.asked.values()) <= 8
    assert str(told.value) == (
        f"{endpoint.url} finds even pictures of 62,500 pixels too large (HTTP 413, 413 Request Entity Too Large 413); "
        "raise the server's limit, or send less with --set captioner.quality=60 or --set captioner.images=grid."
    )


def test_a_refusal_of_a_larger_token_limit_leaves_the_pictures_as_they_are() -> None:
    def react(handler: Handler) -> None:
        if handler.body["max_tokens"] > 768:
            handler.reply({"error": {"message": "the maximum context length is 8192 tokens, max_tokens is 1536"}}, 400)
        else:
            handler.reply(completion("[A] half", "length"))

    with serving(default=react) as endpoint:
        captioner = make(endpoint, concurrency=1)
        assert [answer.finished for answer in answers_of(captioner, [grainy(0), grainy(1)])] == [False, False]
        assert {opened(pictures(body)[0]).width for body in endpoint.bodies} == {SIDE}


def test_pixels_and_quality_of_the_pictures_can_be_set() -> None:
    with serving() as endpoint:
        plain, lean, poor = make(endpoint), make(endpoint, max_pixels=90_000), make(endpoint, quality=40)
        for captioner in (plain, lean, poor):
            answers_of(captioner, [grainy()])
        whole, small, coarse = (pictures(body)[0] for body in endpoint.bodies)
        assert (opened(whole).size, opened(small).size, opened(coarse).size) == ((SIDE, SIDE), (300, 300), (SIDE, SIDE))
        assert len(coarse) < len(whole) / 2
        assert lean.identity() == plain.identity() | {"max_pixels": 90_000}
        assert poor.identity() == plain.identity() | {"quality": 40}


@pytest.mark.parametrize("option", [{"max_pixels": 100}, {"quality": 0}, {"quality": 101}])
def test_pixels_and_quality_have_limits(option: dict[str, int]) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(option))}: Input should be"):
        server.make(option)


# ---- what no repetition cures


def test_a_refused_schema_stops_at_once_if_it_was_asked_for(tmp_path: Path) -> None:
    with serving(default=fails(400, "response_format json_schema is not supported")) as endpoint:
        with pytest.raises(
            BadInput, match=r"refuses the schema .*not supported\); do without it with --set captioner\.schema=auto"
        ):
            run(tmp_path, make(endpoint, schema="json_schema"), 20)
        assert sum(endpoint.asked.values()) <= 8


@pytest.mark.parametrize(
    ("error", "told", "most"),
    [
        (
            b'{"error": {"message": "Provider returned error", "code": 429}}',
            r"server error|refused: HTTP 429, Provider",
            16,
        ),
        (b'{"error": {"message": "content flagged", "code": 400}}', "refused: HTTP 400, content flagged", 8),
        (b'{"error": "overloaded"}', "server error: HTTP 200 with an error, overloaded", 16),
        (b'{"error": {"message": "no such key", "code": "401"}}', "HTTP 401, no such key; set a valid key", 8),
        (b'{"object": "error", "message": "it broke", "code": 500}', "server error: HTTP 500, it broke", 16),
        (b'{"choices": [{"error": {"message": "upstream", "code": 502}}]}', "server error: HTTP 502, upstream", 16),
    ],
)
def test_an_error_with_a_good_status_is_told_as_one_and_stops_early(
    tmp_path: Path, error: bytes, told: str, most: int
) -> None:
    with serving(default=sends(error)) as endpoint:
        with pytest.raises(BadInput, match=told):
            run(tmp_path, make(endpoint, schema="none"), 55)
        assert len(endpoint.bodies) <= most


# ---- the wrong address


def lmstudio(handler: Handler) -> None:
    handler.reply({"error": f"Unexpected endpoint or method. ({handler.command} {handler.path})"})


def page(handler: Handler) -> None:
    handler.reply(b"<!doctype html><title>Open WebUI</title>", headers={"Content-Type": "text/html"})


ELSEWHERE: dict[str, Reaction] = {
    "LM Studio": lmstudio,
    "Ollama": lambda handler: handler.reply(b"404 page not found", 404),
    "FastAPI": lambda handler: handler.reply({"detail": "Not Found"}, 404),
    "a web page": page,
    "a web page that takes no questions": lambda handler: (page if handler.command == "GET" else fails(405))(handler),
}


@pytest.mark.parametrize("kind", ELSEWHERE)
@pytest.mark.parametrize("model", ["", "small-vlm"])
def test_an_address_without_v1_is_told_after_two_requests_at_most(tmp_path: Path, kind: str, model: str) -> None:
    with serving(default=ELSEWHERE[kind], listing=ELSEWHERE[kind]) as endpoint:
        url = endpoint.url.removesuffix("/v1")
        with pytest.raises(BadInput, match=rf"captioner.url usually ends with /v1; try --set captioner.url={url}/v1"):
            run(tmp_path, server.make({"url": url, "model": model}), 20)
        assert endpoint.listings + len(endpoint.bodies) <= 2


def test_an_address_that_lists_nothing_is_asked_one_question_first() -> None:
    with serving(listing=fails(404)) as endpoint:
        captioner = make(endpoint, model="m")
        busiest: list[int] = []
        for _ in captioner.ask([ask(number) for number in range(30)]):
            busiest.append(endpoint.busiest)
        assert busiest[0] == 1 and len(busiest) == 30


def test_the_command_tells_a_wrong_address_in_one_sentence_with_exit_code_two(
    tmp_path: Path, iclora: Callable[..., tuple[int, str, str]]
) -> None:
    rng = Random(3)
    for number in range(6):
        write_picture(draw_scene(rng), tmp_path / "shots" / f"{number}.png", (384, 192))
    with serving(default=lmstudio, listing=lmstudio) as endpoint:
        words = [
            "caption",
            "storyboard",
            "--source",
            str(tmp_path / "shots"),
            "--scorer",
            "none",
            "--captioner",
            "server",
        ]
        words += ["--set", f"captioner.url={endpoint.url.removesuffix('/v1')}", "--set", "captioner.model=small-vlm"]
        words += ["--set", "group.floor=0", "--set", "group.ceiling=1", "--set", "group.prove=false"]
        code, _, errors = iclora(*words, "--out", str(tmp_path / "run"))
        assert code == 2 and "/v1" in errors and errors.startswith("error: ") and len(errors.splitlines()) == 1
        assert endpoint.listings + len(endpoint.bodies) <= 2
    assert open_run("storyboard", folder=tmp_path / "run", must_exist=True)
