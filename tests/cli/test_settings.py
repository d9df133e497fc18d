"""`Settings.load`: where values come from, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from opencph.settings import Settings, SettingsError, specifications, unknown_variables


def load(**given: object) -> Settings:
    return Settings.load(given, environ={})


def test_without_anything_given_the_documented_defaults_hold() -> None:
    settings = Settings.load(environ={"HOME": "/home/x"})
    assert settings.listen == "127.0.0.1:8580"
    assert settings.data == Path("~/.local/share/opencph").expanduser()
    assert settings.database_url == f"sqlite:///{settings.data}/opencph.db"


def test_a_file_beats_defaults_a_variable_beats_the_file_and_an_option_beats_both(tmp_path: Path) -> None:
    file = tmp_path / "opencph.toml"
    file.write_text('ssh_port = 1\nregion = "file"\nlisten = "127.0.0.1:1"\ntoken_hours = 5\n')
    environ = {"OPENCPH_REGION": "variable", "OPENCPH_LISTEN": "127.0.0.1:2", "OPENCPH_SSH_PORT": "2"}
    settings = Settings.load({"listen": "127.0.0.1:3", "database": None}, config=file, environ=environ)
    assert (settings.token_hours, settings.region, settings.ssh_port, settings.listen) == (5, "variable", 2, "127.0.0.1:3")


def test_the_file_can_be_named_by_a_variable(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("quota_phones = 7")
    assert Settings.load(environ={"OPENCPH_CONFIG": str(tmp_path / "c.toml")}).quota_phones == 7


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen", "8580"),
        ("listen", "127.0.0.1:"),
        ("listen", "127.0.0.1:65536"),
        ("listen", "::1:8580"),
        ("listen", "[127.0.0.1]:80"),
        ("database", "mysql://x"),
        ("database", "sqlite:///"),
        ("runtime", "vmware"),
        ("region", ""),
        ("region", "a b"),
        ("availability_zones", "a,,b"),
        ("availability_zones", "a,a"),
        ("network", "127.0.0.0/10"),
        ("network", "127.64.0.0/9"),
        ("network", "127.64.0.0/21"),
        ("network", "127.64.0.1/16"),
        ("network", "10.0.0.0/16"),
        ("network", "fd00::/16"),
        ("ssh_port", "0"),
        ("ssh_port", "65536"),
        ("ssh_port", "22.5"),
        ("ssh_port", ""),
        ("ssh_port", True),
        ("quota_phones", "-1"),
        ("quota_phones", "9" * 30),
        ("body_limit_bytes", "1023"),
        ("hung_seconds", "2"),
        ("log_level", "loud"),
        ("catalogue", "/nonexistent/catalogue.toml"),
        ("data", ""),
    ],
)
def test_a_value_that_cannot_be_used_is_refused_in_one_sentence_that_names_the_setting(name: str, value: object) -> None:
    with pytest.raises(SettingsError) as refused:
        load(**{name: value})
    message = str(refused.value)
    assert message.startswith(f"{name} = ")
    assert f" (in option --{name.replace('_', '-')}): " in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("listen", "[::1]:0"),
        ("listen", "localhost:65535"),
        ("network", "127.64.0.0/20"),
        ("network", "127.128.0.0/10"),
        ("ssh_port", "65535"),
        ("quota_phones", 0),
        ("hung_seconds", 0),
        ("hung_seconds", "3"),
        ("database", "postgresql://u:p@h/n"),
        ("availability_zones", "one"),
    ],
)
def test_values_at_the_edge_of_what_is_allowed_are_taken(name: str, value: object) -> None:
    assert str(getattr(load(**{name: value}), name)) == str(value)


def test_a_refusal_says_where_the_value_was_said() -> None:
    with pytest.raises(SettingsError, match=r"ssh_port = 'x' \(in OPENCPH_SSH_PORT\): give a whole number, 1 to 65535"):
        Settings.load(environ={"OPENCPH_SSH_PORT": "x"})


def test_a_misspelt_variable_is_refused_and_a_foreign_one_is_not() -> None:
    with pytest.raises(SettingsError, match="OPENCPH_LISTNE is not a setting; did you mean OPENCPH_LISTEN"):
        Settings.load(environ={"OPENCPH_LISTNE": "127.0.0.1:1"})
    Settings.load(environ={"OPENCPH_FAILPOINT": "change_server:boot:before"})


def test_a_variable_that_means_nothing_is_said_and_does_no_harm(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPENCPH_FROBNICATE", "1")
    monkeypatch.setenv("OPENCPH_NETWORK", "127.128.0.0/16")
    done = subprocess.run(
        [sys.executable, "-m", "opencph", "status", "--data", tmp_path / "none"], capture_output=True, text=True, check=False
    )
    (said, nothing) = done.stderr.splitlines()
    assert said == "opencph: OPENCPH_FROBNICATE is not a setting and does nothing; docs/settings.md has them all"
    assert nothing.startswith("nothing has been started")
    assert unknown_variables({"OPENCPH_CONFIG": "x", "OPENCPH_FAILPOINT": "x", "OPENCPH_LISTEN": "x", "PATH": "x"}) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("ssh_prot = 1", "did you mean ssh_port"),
        ("frobnicate = 1", "docs/settings.md has them all"),
        ("= 1", "is not TOML"),
        ('ssh_port = "many"', "give a whole number"),
        ("region = 5", "give a text in quotes"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(SettingsError, match=said):
        Settings.load(config=tmp_path / "c.toml", environ={})


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot read the settings file"):
        Settings.load(config=tmp_path / "none.toml", environ={})


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@h/n", "postgresql://h/n?user=me&password=s3cret", "postgresql://:s3cret@h/n"]
)
def test_a_password_in_the_database_url_is_never_shown(url: str) -> None:
    assert "s3cret" not in load(database=url).database_shown


def test_paths_come_out_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c.toml").write_text("")
    settings = load(data="here", catalogue="c.toml")
    assert (settings.data, settings.catalogue) == (tmp_path / "here", str(tmp_path / "c.toml"))


def test_every_setting_has_a_description_and_every_number_a_lower_bound() -> None:
    for one in specifications():
        assert one.description.endswith("."), one.name
        assert one.type is not int or one.least is not None, one.name
