import dataclasses

import httpx
import openai
import pytest

from server.auth.api_keys import create_key, ensure_default_project, list_keys, revoke_key
from server.auth.authenticator import Authenticator
from server.auth.caller import Caller
from server.bootstrap import build_services
from server.db.system_session import system_session
from server.db.tables import ApiKeyRow
from server.errors import Unauthenticated
from server.ids import ProjectId
from tests.factories import make_file
from tests.running_api import ADMIN_KEY, Api, make_settings

NO_KEY = "You didn't provide an API key."


@pytest.mark.parametrize("header", [None, "", "Bearer", "Basic dXNlcjpwYXNz", "sk-1234567890", "Token x"])
def test_a_request_without_a_key_is_told_how_to_send_one(api: Api, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header}
    answer = httpx.get(f"{api.url}/models", headers=headers)

    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (401, "invalid_request_error", None)
    assert error["message"].startswith(NO_KEY)


def test_a_wrong_key_is_refused_and_never_echoed(api: Api) -> None:
    with api.client("sk-abcdefghijklmnopqrstuvwxyz") as client, pytest.raises(openai.AuthenticationError) as refused:
        client.models.list()

    assert refused.value.code == "invalid_api_key"
    assert "Incorrect API key provided: sk-ab***yz." in refused.value.message
    assert "cdefgh" not in refused.value.message


def test_a_short_wrong_key_is_not_shown_at_all(api: Api) -> None:
    answer = httpx.get(f"{api.url}/models", headers={"authorization": "Bearer hunter2"})

    assert "provided: ***." in answer.json()["error"]["message"]


def test_a_revoked_key_is_refused_at_once(api: Api) -> None:
    key = create_key(api.database, "mine")
    with api.client(key.plaintext) as client:
        client.models.list()
        assert revoke_key(api.database, key.id)
        with pytest.raises(openai.AuthenticationError):
            client.models.list()
        assert revoke_key(api.database, key.id)
    assert not revoke_key(api.database, "key_unknown")


def test_only_the_hash_of_a_key_is_kept(api: Api) -> None:
    key = create_key(api.database, "mine", is_admin=True)

    assert key.plaintext.startswith("sk-tunesmith-")
    with system_session(api.database) as session:
        row = session.get_one(ApiKeyRow, key.id)
    assert key.plaintext not in str(row)
    listing = next(listing for listing in list_keys(api.database) if listing.id == key.id)
    assert (listing.project, listing.is_admin, listing.revoked_at) == ("mine", True, None)
    assert listing.hint == f"{key.plaintext[:16]}…{key.plaintext[-4:]}"


def test_keys_of_one_project_share_what_it_owns(api: Api) -> None:
    row = make_file(api.services, api.project_id)

    with api.client(create_key(api.database, "mine").plaintext) as client:
        assert client.files.retrieve(row.id).id == row.id


DEFAULT = Caller(ProjectId("proj_default"), "org-x", "personal", is_admin=False, key_id="key_x")


@pytest.mark.parametrize(
    ("key", "header"),
    [
        ("My API Key", b"Bearer My API Key"),
        ("My API Key", b"bearer   My API Key  "),
        ("  spaces around  ", b"Bearer spaces around"),
        ("Schlüssel", "Bearer Schlüssel".encode()),
        ("Schlüssel", "Bearer Schlüssel".encode("latin-1")),
        ("密钥", "Bearer 密钥".encode()),
        ("x", b"Bearer x"),
    ],
)
def test_a_key_of_the_settings_is_valid_as_it_stands(api: Api, key: str, header: bytes) -> None:
    default = ensure_default_project(api.database, "personal")
    authenticator = Authenticator(api.database, default, api_key=key, admin_key=None)
    assert authenticator.authenticate([(b"authorization", header)]) == default

    administrator = Authenticator(api.database, default, api_key=None, admin_key=key)
    caller = administrator.authenticate([(b"authorization", header)])
    assert caller == dataclasses.replace(default, is_admin=True, key_id=caller.key_id)
    assert caller.key_id != default.key_id


@pytest.mark.parametrize("header", [b"Bearer my api key", b"Bearer My API", b"Bearer My API Key2", b"Bearer ?"])
def test_anything_else_is_not(api: Api, header: bytes) -> None:
    authenticator = Authenticator(api.database, DEFAULT, api_key="My API Key", admin_key="密")
    with pytest.raises(Unauthenticated, match="Incorrect API key"):
        authenticator.authenticate([(b"authorization", header)])


@pytest.mark.parametrize("key", ["", "   "])
def test_an_empty_key_of_the_settings_opens_nothing(api: Api, key: str) -> None:
    authenticator = Authenticator(api.database, DEFAULT, api_key=key, admin_key=key)
    with pytest.raises(Unauthenticated):
        authenticator.authenticate([(b"authorization", b"Bearer  ")])


def test_an_administrator_may_act_in_any_project(api: Api) -> None:
    row = make_file(api.services, api.project_id)
    with api.client(ADMIN_KEY) as administrator:
        with pytest.raises(openai.NotFoundError):
            administrator.files.retrieve(row.id)
        there = administrator.with_options(default_headers={"OpenAI-Project": api.project_id})
        assert there.files.retrieve(row.id).id == row.id
        nowhere = administrator.with_options(default_headers={"OpenAI-Project": "proj_unknown"})
        with pytest.raises(openai.AuthenticationError, match="names no project of this server"):
            nowhere.files.list()


def test_nobody_else_leaves_their_project(api: Api, stranger: openai.OpenAI) -> None:
    row = make_file(api.services, api.project_id)

    with pytest.raises(openai.NotFoundError):
        stranger.with_options(default_headers={"OpenAI-Project": api.project_id}).files.retrieve(row.id)


def test_the_default_project_stays_the_same_and_takes_the_settings_slug(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("home")
    callers = []
    for organization in ("personal", "My Org"):
        services = build_services(make_settings(home, organization=organization))
        callers.append(services.authenticator.default)
        services.database.dispose()

    assert callers[0].project_id == callers[1].project_id
    assert [caller.slug for caller in callers] == ["personal", "my-org"]
