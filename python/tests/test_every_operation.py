"""Every operation of the published contract through the published client, and by those who must not see anything."""

from __future__ import annotations

import json

import pytest
from conftest import KEY, Api, Server, unique
from mixpeek import ApiClient
from mixpeek.exceptions import ApiException
from operations import EMAIL, Operation, Prepared, World, client_of, contract, make_world, methods, prepare

OPERATIONS = contract()
# Who asks from elsewhere is told that there is nothing, or that he may not.
TURNED_AWAY = {403, 404}
OK = 200


def names(operation: Operation) -> str:
    return f"{operation[0]} {operation[1]}"


@pytest.fixture(scope="module")
def world(api: Api) -> World:
    return make_world(api)


@pytest.fixture(scope="module")
def strangers(world: World, other: Api) -> dict[str, ApiClient]:
    """Who must not see anything of the world."""
    scope = {"resource_type": "namespace", "resource_id": other.namespace}
    body = {"name": unique("stranger"), "permissions": ["read", "write", "delete"], "scopes": [scope]}
    key = other.ok("POST", f"/organizations/users/{EMAIL}/api-keys", json=body)["key"]
    return {
        "the admin's key in another namespace": client_of(other.server, other.namespace, KEY),
        "another key in its own namespace": client_of(other.server, other.namespace, key),
        "another key outside of its scope": client_of(other.server, world.api.namespace, key),
    }


def test_the_published_client_has_a_method_for_every_operation() -> None:
    assert [operation for operation in OPERATIONS if operation not in methods()] == []


@pytest.mark.parametrize("operation", OPERATIONS, ids=names)
def test_an_operation_answers_the_published_client(server: Server, world: World, operation: Operation) -> None:
    prepare(world, operation).send(client_of(server, world.api.namespace, KEY))


@pytest.mark.parametrize("operation", OPERATIONS, ids=names)
def test_an_operation_tells_a_stranger_nothing(world: World, strangers: dict[str, ApiClient], operation: Operation) -> None:
    for who, client in strangers.items():
        call = prepare(world, operation)
        status, text = outcome(call, client)
        asked = json.dumps(call.arguments, default=str) if status in TURNED_AWAY else ""
        leaked = [secret for secret in world.secrets() if secret in text and secret not in asked]
        assert status in {OK, *TURNED_AWAY}, f"{who}: {status} {text}"
        assert leaked == [], f"{who}: {text}"


def outcome(call: Prepared, client: ApiClient) -> tuple[int, str]:
    try:
        told = call.send(client)
    except ApiException as refusal:
        return refusal.status, refusal.body or ""
    return OK, str(told.to_dict()) if hasattr(told, "to_dict") else json.dumps(told, default=str)
