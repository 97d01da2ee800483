"""Webhooks through the published client, told to a receiver that verifies as docs/webhooks.md shows."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from conftest import KEY, ROOT, Api, Server, unique
from mixpeek import ApiClient, Configuration, WebhooksApi
from mixpeek.models.list_webhooks_request import ListWebhooksRequest
from mixpeek.models.webhook_input import WebhookInput

# A delivery comes within a second of its event; a busy machine takes longer.
TOLD_SECONDS = 60.0


def documented_verify() -> Callable[..., None]:
    """The example of the documentation, as it stands there."""
    text = (ROOT / "docs" / "webhooks.md").read_text()
    example = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert example
    scope: dict[str, Any] = {}
    exec(example.group(1), scope)
    verify: Callable[..., None] = scope["verify"]
    return verify


class Receiver:
    """Keeps what it is told; answers 500 to so many first."""

    def __init__(self, failures: int = 0) -> None:
        self.got: list[tuple[dict[str, str], bytes]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(500 if len(receiver.got) <= failures else 204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook"

    def wait(self, count: int) -> list[tuple[dict[str, str], bytes]]:
        deadline = time.monotonic() + TOLD_SECONDS
        while time.monotonic() < deadline:
            if len(self.got) >= count:
                return list(self.got)
            time.sleep(0.05)
        pytest.fail(f"told {len(self.got)} times, not {count}")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.server.shutdown()


@pytest.fixture(scope="module")
def webhooks(server: Server, api: Api) -> WebhooksApi:
    client = ApiClient(Configuration(host=server.url, access_token=KEY))
    client.set_default_header("X-Namespace", api.namespace)
    return WebhooksApi(client)


def wanted(url: str, *event_types: str) -> WebhookInput:
    made = WebhookInput.from_dict(
        {
            "webhook_name": unique("hook"),
            "event_types": list(event_types),
            "channels": [{"channel": "webhook", "configs": {"url": url, "headers": {"X-Team": "ops"}}}],
        }
    )
    assert made is not None
    return made


def secret_of(webhook: Any) -> str:
    secret = webhook.channels[0].configs.actual_instance.signing_secret
    return str(secret)


def test_a_webhook_is_made_read_listed_changed_and_deleted(webhooks: WebhooksApi) -> None:
    made = webhooks.create_webhook_organizations(wanted("https://example.org/", "object.created", "alert.triggered"))
    assert secret_of(made).startswith("whsec_")
    read = webhooks.get_webhook_organizations(made.webhook_id)
    assert read.channels[0].configs.actual_instance.signing_secret is None
    listed = webhooks.list_webhooks_organizations(list_webhooks_request=ListWebhooksRequest(event_type="alert.triggered"))
    assert made.webhook_id in {each.webhook_id for each in listed.results}
    changed = WebhookInput.from_dict({**read.to_dict(), "is_active": False})
    assert changed is not None
    assert webhooks.update_webhook_organizations(made.webhook_id, changed).is_active is False
    webhooks.delete_webhook_organizations(made.webhook_id)
    with pytest.raises(Exception, match="404"):
        webhooks.get_webhook_organizations(made.webhook_id)


def test_deliveries_verify_as_documented_and_forgeries_do_not(webhooks: WebhooksApi, api: Api, receiver: Receiver) -> None:
    verify = documented_verify()
    made = webhooks.create_webhook_organizations(wanted(receiver.url, "object.created", "objects.created.batch"))
    secret = secret_of(made)
    bucket = api.bucket({"body": {"type": "text"}})
    blob = {"property": "body", "type": "text", "data": "a text"}
    objects = api.objects(bucket, [{"blobs": [blob]}])
    told = receiver.wait(2)
    for headers, body in told:
        verify(secret, headers, body)
        assert headers["x-team"] == "ops"
        with pytest.raises(ValueError, match="does not fit"):
            verify(secret, headers, body + b" ")
        with pytest.raises(ValueError, match="does not fit"):
            verify("whsec_AAAA", headers, body)
        with pytest.raises(ValueError, match="too old"):
            verify(secret, {**headers, "webhook-timestamp": "1"}, body)
    by_type = {json.loads(body)["type"]: json.loads(body)["data"] for _, body in told}
    assert by_type["object.created"] == {"bucket_id": bucket, "object_id": objects[0]}
    assert by_type["objects.created.batch"] == {"bucket_id": bucket, "object_ids": objects}
    webhooks.delete_webhook_organizations(made.webhook_id)


def test_a_failed_delivery_is_tried_again_and_the_log_says_so(webhooks: WebhooksApi, api: Api) -> None:
    receiver = Receiver(failures=1)
    made = webhooks.create_webhook_organizations(wanted(receiver.url, "collection.created"))
    bucket = api.bucket({"body": {"type": "text"}})
    collection = api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    first, second = receiver.wait(2)
    assert first[0]["webhook-id"] == second[0]["webhook-id"]
    deadline = time.monotonic() + TOLD_SECONDS
    while True:
        log = api.ok("GET", "/organizations/webhook-deliveries", params={"webhook_id": made.webhook_name})
        (delivery,) = log["results"]
        if delivery["status"] == "DELIVERED":
            break
        assert time.monotonic() < deadline, delivery
        time.sleep(0.05)
    assert [attempt["status"] for attempt in delivery["attempts"]] == [500, 204]
    assert delivery["payload"]["data"]["collection_id"] == collection
    assert webhooks.get_webhook_organizations(made.webhook_id).delivery_health["delivered"] == 1
    webhooks.delete_webhook_organizations(made.webhook_id)
    receiver.server.shutdown()


def test_a_batch_tells_its_own_address_when_it_ends(api: Api, receiver: Receiver) -> None:
    bucket = api.bucket({"body": {"type": "text"}})
    api.collection(bucket, "text_extractor", {"text": "body"}, {"embedding": "lexical"})
    blob = {"property": "body", "type": "text", "data": "a text"}
    batch = api.batch(bucket, api.objects(bucket, [{"blobs": [blob]}]))
    task = api.ok("POST", f"/buckets/{bucket}/batches/{batch}/submit", json={"webhook_url": receiver.url})
    ((headers, body),) = receiver.wait(1)
    documented_verify()(task["additional_data"]["webhook_signing_secret"], headers, body)
    told = json.loads(body)
    assert told["type"] == "batch.ended"
    assert told["data"]["batch_id"] == batch
    assert told["data"]["status"] == "COMPLETED"


@pytest.mark.parametrize("url", ["http://169.254.169.254/latest/meta-data", "http://10.0.0.1/", "http://[::1]:1/"])
def test_a_private_address_is_refused(api: Api, url: str) -> None:
    body = {
        "webhook_name": unique("hook"),
        "event_types": ["object.created"],
        "channels": [{"channel": "webhook", "configs": {"url": url}}],
    }
    error = api.refused(422, "POST", "/organizations/webhooks", json=body)
    assert "not public" in error["message"]
