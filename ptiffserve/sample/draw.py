"""Pictures of the plan as pixels: level 0 from the scene, every other level by halving the one below. Encodes nothing."""

from collections import Counter
from itertools import chain
from threading import Lock

import pyvips

from ptiffserve.sample.noise import Image
from ptiffserve.sample.plan import WHITE, Four, Plan
from ptiffserve.sample.scene import Scene, blank


class Studio:
    """Draws a picture by its number, from any thread.

    The half of a picture is kept until every tile above that shows it has been drawn: a shared one would else be
    drawn again with all that is below it. `overview` is a level whose halves are wanted once more at the end.
    """

    def __init__(self, scene: Scene, plan: Plan, overview: int) -> None:
        self._scene = scene
        self._plan = plan
        self._white = blank(scene.tile // 2)
        joined = (made for made in plan.pictures if made is not None and len(made) == 4)
        self._wanted = Counter(chain(chain.from_iterable(joined), set(plan.tiles[overview])))
        self._halves: dict[int, Image] = {}
        self._lock = Lock()

    def draw(self, number: int) -> Image:
        """A whole tile; to be asked for once, the tiles it is made of first. Its half is kept for the tiles above."""
        image, half = self._drawn(number)
        with self._lock:
            if self._wanted[number] > 0:
                self._halves[number] = half
            for part in self._parts(number):
                self._used(part)
        return image

    def half(self, number: int) -> Image:
        """A tile at half its size: a quarter of the tile above."""
        if number == WHITE:
            return self._white
        with self._lock:
            found = self._halves.get(number)
        return found if found is not None else self._drawn(number)[1]  # another thread is at it just now

    def _drawn(self, number: int) -> tuple[Image, Image]:
        image = self._composed(number)
        return image, image.shrink(2, 2).copy_memory()

    def _composed(self, number: int) -> Image:
        made = self._plan.pictures[number]
        assert made is not None
        if len(made) == 3:
            return self._scene.pixels(*made).copy_memory()
        return pyvips.Image.arrayjoin([self.half(part) for part in made], across=2)

    def _parts(self, number: int) -> Four | tuple[()]:
        made = self._plan.pictures[number]
        return made if made is not None and len(made) == 4 else ()

    def _used(self, number: int) -> None:
        self._wanted[number] -= 1
        if self._wanted[number] <= 0:
            self._halves.pop(number, None)
