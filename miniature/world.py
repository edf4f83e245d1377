"""What exists in the film world, and the words for it. No drawing here and no heavy import."""

from __future__ import annotations

import random
from dataclasses import dataclass

KINDS = ("rabbit", "bear", "cat", "elephant", "duck", "robot", "frog", "lion")
COLOURS = ("red", "yellow", "green", "blue", "purple", "white")
WORN = {"hat": "a top hat", "scarf": "a scarf", "cape": "a cape", "crown": "a crown"}
PLACES = {
    "beach": "on the beach",
    "forest": "in the forest",
    "city": "in the city",
    "desert": "in the desert",
    "mountains": "in the snowy mountains",
    "kitchen": "in the kitchen",
    "library": "in the library",
    "moon": "on the moon",
    "farm": "on the farm",
    "castle": "by the castle",
}
ACTIONS = {
    "kite": "flying a kite",
    "balloon": "holding a balloon",
    "guitar": "playing the guitar",
    "book": "reading a book",
    "umbrella": "holding an umbrella",
    "icecream": "eating an ice cream",
    "easel": "painting a picture",
    "drum": "beating a drum",
    "flag": "waving a flag",
    "lantern": "carrying a lantern",
}
MIRRORED = 0.5  # how often a scene is drawn from the other side
SHOTS = {"wide": "a wide shot", "medium": "a medium shot", "close": "a close-up"}


@dataclass(frozen=True)
class Character:
    """One of 192: a kind (of KINDS) in a colour (of COLOURS) with something worn (a key of WORN)."""

    kind: str
    colour: str
    worn: str

    @property
    def words(self) -> str:
        return f"{self.body} with {WORN[self.worn]}"

    @property
    def body(self) -> str:
        """What it keeps when it changes its clothes, and by which it is known again."""
        return f"a {self.colour} {self.kind}"


@dataclass(frozen=True)
class Scene:
    """What one shot shows; place, action and shot are keys of PLACES, ACTIONS and SHOTS."""

    character: Character
    place: str
    action: str
    shot: str
    mirrored: bool = False
    seed: int = 0


def draw_character(rng: random.Random) -> Character:
    return Character(rng.choice(KINDS), rng.choice(COLOURS), rng.choice(list(WORN)))


def draw_scene(rng: random.Random, character: Character | None = None) -> Scene:
    return Scene(
        character or draw_character(rng),
        rng.choice(list(PLACES)),
        rng.choice(list(ACTIONS)),
        rng.choice(list(SHOTS)),
        rng.random() < MIRRORED,
        rng.randrange(2**31),
    )


def describe(scene: Scene, name: str | None = None, wording: int = 0) -> str:
    """One clause for one panel, no full stop; `wording` (any integer) chooses the phrasing, 0 is the mini VLM's own.

    >>> describe(Scene(Character("rabbit", "red", "hat"), "beach", "kite", "wide"), "Mara")
    'a wide shot of <Mara>, a red rabbit with a top hat, flying a kite on the beach'
    """
    who = f"<{name}>, {scene.character.words}," if name else scene.character.words
    act, place, shot = ACTIONS[scene.action], PLACES[scene.place], SHOTS[scene.shot]
    phrasings = (
        f"{shot} of {who} {act} {place}",
        f"{who} is {act} {place} in {shot}",
        f"{place}, {who} is seen {act} in {shot}",
        f"{shot}: {who} {act}, {place}",
        f"{place} in {shot} {who} keeps {act}",
        f"{who} {act} {place}",
    )
    return phrasings[wording % len(phrasings)]


def bare(scene: Scene, name: str) -> str:
    """One clause for one panel that leaves open what its character looks like.

    >>> bare(Scene(Character("rabbit", "red", "hat"), "beach", "kite", "wide"), "Mara")
    'a wide shot of <Mara>, flying a kite on the beach'
    """
    return f"{SHOTS[scene.shot]} of <{name}>, {ACTIONS[scene.action]} {PLACES[scene.place]}"


def summarise(scenes: list[Scene], names: list[str | None]) -> str:
    """One clause for the whole grid: who is in it (each character once, in order) and where it plays."""
    people: list[str] = []
    for scene, name in zip(scenes, names, strict=True):
        words = f"<{name}>, {scene.character.words}" if name else scene.character.words
        if words not in people:
            people.append(words)
    places = list(dict.fromkeys(PLACES[scene.place] for scene in scenes))
    return f"a short story about {' and '.join(people)}, {' and '.join(places)}"
