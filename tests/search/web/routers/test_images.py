"""Pictures go out by id and re-encoded, never by path and never as they came."""

from __future__ import annotations

import io

from PIL import Image
from starlette.testclient import TestClient

from search.engine import Engine


def test_the_picture_route_gives_only_re_encoded_pictures(
    client: TestClient, engine: Engine
) -> None:
    meta = engine.generation.meta
    picture_id, file = meta.execute("select picture_id, file from pictures").fetchone()
    for size, side in (("small", 200), ("medium", 400), ("large", 1280)):
        answer = client.get(f"/v1/pictures/{picture_id}", params={"size": size})
        image = Image.open(io.BytesIO(answer.content))
        assert image.format == "WEBP" and max(image.size) <= side
    assert client.get(f"/v1/pictures/{file}").status_code == 404
    assert client.get(f"/v1/pictures/{picture_id.upper()}").status_code == 404
    again = client.get(
        f"/v1/pictures/{picture_id}",
        params={"size": "large"},
        headers={"if-none-match": answer.headers["etag"]},
    )
    assert again.status_code == 304
