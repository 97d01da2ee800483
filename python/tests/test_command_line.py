"""The command line as a script uses it: data on standard output, all else on standard error, exit codes."""

from __future__ import annotations

import json
import os
import subprocess

from conftest import KEY, Api, Ended, Server, binary


def fettle(server: Server, api: Api, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "FETTLE_URL": server.url,
        "FETTLE_API_KEY": KEY,
        "FETTLE_NAMESPACE": api.namespace,
        "NO_COLOR": "1",
    }
    return subprocess.run([binary(), *arguments], capture_output=True, text=True, env=environment, timeout=120, check=False)


def test_a_batch_is_listed_and_shown(server: Server, api: Api, completed: Ended) -> None:
    listed = fettle(server, api, "batch", "ls")
    assert listed.returncode == 0, listed.stderr
    assert completed.batch in listed.stdout
    shown = fettle(server, api, "batch", "get", completed.batch, "--json")
    assert json.loads(shown.stdout)["status"] == "COMPLETED"


def test_watching_an_ended_batch_ends_with_its_code(server: Server, api: Api, completed: Ended, with_errors: Ended) -> None:
    assert fettle(server, api, "batch", "watch", completed.batch).returncode == 0
    assert fettle(server, api, "batch", "watch", with_errors.batch).returncode == 10


def test_a_diagnosis_is_told_and_its_call_can_be_made(server: Server, api: Api, out_of_memory: Ended) -> None:
    told = fettle(server, api, "batch", "diagnose", out_of_memory.batch)
    assert told.returncode == 0, told.stderr
    assert "verdict: infrastructure / oom" in told.stdout
    assert "evidence" in told.stdout
    assert f"/batches/{out_of_memory.batch}/tiers/0/retry" in told.stdout
    assert f"fettle batch retry {out_of_memory.batch} --recommended" in told.stdout


def test_the_audit_is_one_line_a_tier(server: Server, api: Api, with_errors: Ended) -> None:
    audit = fettle(server, api, "batch", "audit", with_errors.batch)
    assert "2 submitted = 1 processed + 1 failed + 0 skipped" in audit.stdout
    assert "balanced: nothing is lost" in audit.stdout


def test_failed_documents_and_logs_are_printed(server: Server, api: Api, with_errors: Ended) -> None:
    failed = fettle(server, api, "batch", "failed", with_errors.batch)
    assert "gone.txt" in failed.stdout
    assert fettle(server, api, "batch", "logs", with_errors.batch).returncode == 0


def test_errors_have_their_codes_and_a_hint(server: Server, api: Api, completed: Ended) -> None:
    missing = fettle(server, api, "batch", "get", "btch_000000000000000000000000")
    assert missing.returncode == 3
    assert missing.stdout == ""
    assert "hint:" in missing.stderr
    assert fettle(server, api, "batch", "cancel", completed.batch).returncode == 4
    assert fettle(server, api, "batch", "retry", completed.batch).returncode == 2
    wrong_key = fettle(server, api, "--api-key", "wrong", "batch", "ls")
    assert wrong_key.returncode == 6
    nobody = fettle(server, api, "--url", "http://127.0.0.1:9", "batch", "ls")
    assert nobody.returncode == 5


def test_the_key_is_never_echoed(server: Server, api: Api) -> None:
    for arguments in (("--help",), ("batch", "ls", "--json"), ("batch", "get", "nothing")):
        result = fettle(server, api, *arguments)
        assert KEY not in result.stdout + result.stderr


def test_a_folder_is_run_and_searched(server: Server, api: Api) -> None:
    folder = server.files / "run"
    folder.mkdir()
    (folder / "cats.md").write_text("# Cats\n\nThe cat sleeps on the warm windowsill all afternoon.")
    (folder / "ships.html").write_text("<html><body><p>The ship sails over the stormy sea.</p></body></html>")
    (folder / "rain.txt").write_text("Rain falls on the plain in spring.")
    result = fettle(server, api, "run", str(folder), "--query", "a vessel on the ocean")
    assert result.returncode == 0, result.stderr
    assert "COMPLETED" in result.stdout
    assert "ships.html" in result.stdout
    quiet = fettle(server, api, "run", str(folder), "--query", "stormy sea", "--json", "--quiet")
    assert json.loads(quiet.stdout)["results"][0]["path"] == "ships.html"
    assert quiet.stderr == ""
