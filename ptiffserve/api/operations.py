"""What the JSON API can be asked, in one table: OpenAPI and the readable page are made of it, and a test compares it with the
routes that are there. Answers nothing."""

from typing import Any, NamedTuple, get_type_hints

import msgspec
from msgspec import UNSET, Struct, UnsetType

from ptiffserve.api.imagestores import DatabaseRequest
from ptiffserve.api.slideatlas import Entry
from ptiffserve.api.slides import MAX_PAGE, SlideAnswer, SlidesAnswer
from ptiffserve.api.stores import OURS, SETTINGS, StoreAnswer, StoresAnswer
from ptiffserve.api.tasks import SyncRequest, TaskAnswer
from ptiffserve.api.uploads import Asked, SlideTaken
from ptiffserve.config import StoreRecord


class ErrorAnswer(Struct):
    """`error` is a word for programs, `message` a sentence for people."""

    error: str
    message: str


class HealthAnswer(Struct):
    status: str


class SubmittedAnswer(Struct):
    """The id of the task."""

    task: str


class EntriesAnswer(Struct):
    """The slides of SlideAtlas's stand-alone server."""

    slides: list[Entry]


_HINTS = get_type_hints(StoreRecord)
StoreSettings = msgspec.defstruct(
    "StoreSettings",
    [(name, _HINTS[name] | UnsetType, UNSET) for name in (*SETTINGS, *OURS)],
    namespace={"__doc__": "What may be said of a store; `root` must be when it is made."},
)


class Operation(NamedTuple):
    """`path` has {name} for what varies. `answer`: the JSON's type, or a media type, or None for no body. `query`: what may
    stand behind "?", and what it means. `writes`: it changes something, and may ask for the secret."""

    method: str
    path: str
    summary: str
    answer: Any = None
    status: int = 200
    body: Any = None
    query: dict[str, str] = {}  # noqa: RUF012 - of a NamedTuple
    errors: tuple[int, ...] = (503,)
    writes: bool = False


_V2 = "/api/v2/imagestores"
_IMAGESTORES = (
    Operation("GET", _V2, "The stores as SlideAtlas lists them.", "application/json"),
    Operation("GET", f"{_V2}/{{store}}", "A store as SlideAtlas has it.", "application/json", errors=(404, 503)),
    *(
        Operation("POST", path, words, None, 204, errors=errors, writes=True)
        for path, words, errors in (
            (f"{_V2}/import", "Syncs every store that is a folder, and waits for it.", (503,)),
            (f"{_V2}/{{store}}/import", "Syncs one, and waits for it.", (404, 410, 503)),
            (f"{_V2}/{{store}}/sync", "The same, by its older name.", (404, 410, 503)),
            (f"{_V2}/deliver", "Delivers new views into the inboxes of their creators' collections.", (503,)),
            (f"{_V2}/{{store}}/deliver", "The same for one store.", (404, 410, 503)),
        )
    ),
    Operation("POST", _V2, "Not offered: stores are made at /api/stores.", None, 501, errors=(), writes=True),
    *(
        Operation(method, f"{_V2}/{{store}}", "Not offered.", None, 501, errors=(), writes=True)
        for method in ("PUT", "PATCH", "DELETE")
    ),
    Operation("GET", "/apiv1/databases", "The stores as SlideAtlas's first API lists them.", "application/json"),
    Operation("GET", "/apiv1/databases/{store}", "One of them.", "application/json", errors=(404, 503)),
    Operation(
        "POST",
        "/apiv1/databases/{store}",
        "Syncs it, and waits for it.",
        "application/json",
        200,
        DatabaseRequest,
        errors=(400, 404, 410, 413, 503),
        writes=True,
    ),
)

TABLE: tuple[Operation, ...] = (
    Operation("GET", "/health", "Whether the process lives.", HealthAnswer, errors=()),
    Operation("GET", "/api", "This page.", "text/html", errors=()),
    Operation("GET", "/api/openapi.json", "The API as OpenAPI 3.1.", "application/json", errors=()),
    Operation(
        "GET",
        "/api/slides",
        "Slides in the order of their keys, a page at a time.",
        SlidesAnswer,
        query={
            "store": "the label of a store",
            "q": "text that the path contains, in any case",
            "barcode": "the whole barcode, where barcodes are shown",
            "state": "ready, unreadable or missing",
            "after": "what the page before gave as `next`",
            "limit": f"1 to {MAX_PAGE}, otherwise 100",
        },
        errors=(400, 503),
    ),
    Operation("GET", "/api/slides/{slide}", "A slide by its id or key.", SlideAnswer, errors=(404, 503)),
    Operation("GET", "/api/stores", "The stores that are served.", StoresAnswer),
    Operation(
        "POST",
        "/api/stores",
        "Makes a store; every running server serves it within a second.",
        StoreAnswer,
        201,
        StoreSettings,
        errors=(400, 409, 413, 503),
        writes=True,
    ),
    Operation("GET", "/api/stores/{store}", "A store by its label or id.", StoreAnswer, errors=(404, 503)),
    Operation(
        "PATCH",
        "/api/stores/{store}",
        "Changes what is said of it; its slides keep their ids. Of a configured store, only tile_endpoint and host_name.",
        StoreAnswer,
        200,
        StoreSettings,
        errors=(400, 404, 409, 413, 503),
        writes=True,
    ),
    Operation(
        "DELETE",
        "/api/stores/{store}",
        "Forgets a store and the records of its slides; files stay. A configured store cannot be forgotten.",
        None,
        204,
        errors=(404, 409, 503),
        writes=True,
    ),
    Operation(
        "POST",
        "/api/stores/{store}/sync",
        "Has the store synced by a worker; a dry run tells what would change.",
        SubmittedAnswer,
        202,
        SyncRequest,
        errors=(400, 404, 413, 503),
        writes=True,
    ),
    Operation("GET", "/api/tasks/{task}", "How far a task is, and what came of it.", TaskAnswer, errors=(404, 503)),
    *_IMAGESTORES,
    Operation(
        "GET",
        "/apiv1/slides",
        "The slides as SlideAtlas's stand-alone server lists them.",
        EntriesAnswer,
        errors=(503,),
    ),
    Operation(
        "POST",
        "/api/stores/{store}/uploads",
        "Begins an upload by tus 1.0 (Upload-Length, Upload-Metadata), or takes the one file of a form.",
        SlideTaken,
        201,
        errors=(400, 404, 409, 410, 413, 422, 503, 507),
        writes=True,
    ),
    Operation(
        "PATCH",
        "/api/stores/{store}/uploads/{upload}",
        "The next bytes of an upload; the last make it a slide, whose id is in Ptiffserve-Slide.",
        None,
        204,
        errors=(400, 404, 409, 413, 422, 503, 507),
        writes=True,
    ),
    Operation(
        "DELETE",
        "/api/stores/{store}/uploads/{upload}",
        "Gives an upload up.",
        None,
        204,
        errors=(404, 503),
        writes=True,
    ),
    Operation(
        "POST",
        "/api/stores/{store}/ingest",
        "Takes a file below a store's folder, or a slide of another store, into this store.",
        SlideTaken,
        201,
        body=Asked,
        errors=(400, 403, 404, 409, 410, 422, 503, 507),
        writes=True,
    ),
    Operation(
        "GET",
        "/api/stores/{store}/attachments/{id}",
        "The uploaded file itself, whole or a range.",
        "application/octet-stream",
        200,
        errors=(401, 403, 404, 503),
    ),
    Operation(
        "GET",
        "/api/v2/sessions/{session}/attachments",
        "SlideAtlas's list of a session's attachments.",
        "application/json",
        200,
        errors=(401, 403, 404, 410, 503),
    ),
    Operation(
        "POST",
        "/api/v2/sessions/{session}/attachments",
        "An attachment as SlideAtlas takes it: the file of a form, or its first chunk.",
        None,
        201,
        errors=(400, 404, 410, 413, 503, 507),
        writes=True,
    ),
    Operation(
        "GET",
        "/api/v2/sessions/{session}/attachments/{id}",
        "An attachment.",
        "application/octet-stream",
        200,
        errors=(401, 403, 404, 410, 503),
    ),
    Operation(
        "PUT",
        "/api/v2/sessions/{session}/attachments/{id}",
        "A chunk of an attachment, by Content-Range.",
        None,
        204,
        errors=(400, 404, 410, 413, 503, 507),
        writes=True,
    ),
    Operation(
        "DELETE",
        "/api/v2/sessions/{session}/attachments/{id}",
        "Removes an attachment.",
        None,
        204,
        errors=(404, 410, 503),
        writes=True,
    ),
    Operation(
        "POST",
        "/api/v2/sessions/{session}/imagefiles",
        "An id for a slide that flow.js will send.",
        "application/json",
        201,
        errors=(404, 410, 503),
        writes=True,
    ),
    Operation(
        "POST",
        "/api/v2/sessions/{session}/imagefiles/{id}",
        "A chunk of a slide, as flow.js sends it.",
        "application/json",
        200,
        errors=(400, 404, 409, 410, 413, 422, 503, 507),
        writes=True,
    ),
)
