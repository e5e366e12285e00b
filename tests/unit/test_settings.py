"""Where settings come from, which go over which, and what is refused."""

import json

import pytest

from flowbridge.errors import ConfigError
from flowbridge.settings import Profile, load_profile, profile_names

PROJECT = """
default_profile = "laptop"
[profiles.laptop]
store = "results"
[profiles.cluster]
backend = "kubeflow"
store = "s3://ml/flowbridge"
trust = false
[profiles.cluster.store_options]
anon = true
[profiles.cluster.kubeflow]
host = "https://kfp.example.com"
namespace = "ml"
[profiles.cluster.placement]
load = "laptop"
[profiles.cluster.machine]
cpu = 4
gpus = ["0", "1"]
[profiles.cluster.machine.custom]
licences = 3
"""


@pytest.fixture(autouse=True)
def _no_settings_of_the_machine(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "user"))
    for name in ("FLOWBRIDGE_PROFILE", "FLOWBRIDGE_STORE", "FLOWBRIDGE_BACKEND"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "flowbridge.toml").write_text(PROJECT)
    return folder


def user_file(tmp_path, text):
    path = tmp_path / "user" / "flowbridge" / "config.toml"
    path.parent.mkdir(parents=True)
    path.write_text(text)


class TestSources:
    def test_no_configuration_at_all(self, tmp_path):
        profile = load_profile(directory=tmp_path)
        assert (profile.backend, profile.store, profile.name) == ("local", ".flowbridge", None)

    def test_the_default_profile_of_the_project(self, project):
        profile = load_profile(directory=project)
        assert profile.name == "laptop"
        assert profile.store == str(project / "results")  # relative to the file, not to the working directory

    def test_a_folder_inside_the_project(self, project):
        inside = project / "a" / "b"
        inside.mkdir(parents=True)
        assert load_profile("cluster", directory=inside).store == "s3://ml/flowbridge"

    def test_every_kind_of_setting(self, project):
        profile = load_profile("cluster", directory=project)
        assert profile.kubeflow == {"host": "https://kfp.example.com", "namespace": "ml"}
        assert profile.placement == {"load": "laptop"}
        assert profile.store_options == {"anon": True}
        assert profile.machine.gpus == ["0", "1"]
        assert profile.machine.custom == {"licences": 3}
        assert profile.trust is False

    def test_pyproject(self, tmp_path):
        (tmp_path / "pyproject.toml").write_text(
            '[tool.flowbridge]\ndefault_profile = "a"\n[tool.flowbridge.profiles.a]\nbackend = "inline"\n'
        )
        assert load_profile(directory=tmp_path).backend == "inline"

    def test_a_pyproject_without_the_table_is_passed_by(self, project):
        inside = project / "package"
        inside.mkdir()
        (inside / "pyproject.toml").write_text("[tool.other]\n")
        assert load_profile(directory=inside).name == "laptop"

    def test_own_file_over_pyproject(self, project):
        (project / "pyproject.toml").write_text('[tool.flowbridge.profiles.laptop]\nbackend = "inline"\n')
        assert load_profile(directory=project).backend == "local"

    def test_the_users_file(self, tmp_path):
        user_file(tmp_path, 'default_profile = "mine"\n[profiles.mine]\nbackend = "metaflow"\n')
        assert load_profile(directory=tmp_path / "elsewhere").backend == "metaflow"

    def test_the_profiles_of_all_files_are_known(self, project, tmp_path):
        user_file(tmp_path, "[profiles.mine]\n")
        assert profile_names(project) == ["cluster", "laptop", "mine"]


class TestOrder:
    def test_project_over_user_setting_by_setting(self, project, tmp_path):
        user_file(
            tmp_path, '[profiles.cluster]\nstore = "s3://other"\n[profiles.cluster.kubeflow]\nnamespace = "mine"\nimage = "python:3.12"\n'
        )
        profile = load_profile("cluster", directory=project)
        assert profile.store == "s3://ml/flowbridge"
        assert profile.kubeflow == {"host": "https://kfp.example.com", "namespace": "ml", "image": "python:3.12"}

    def test_environment_over_files(self, project, monkeypatch):
        monkeypatch.setenv("FLOWBRIDGE_STORE", "memory://x")
        monkeypatch.setenv("FLOWBRIDGE_KUBEFLOW__NAMESPACE", "other")
        profile = load_profile("cluster", directory=project)
        assert profile.store == "memory://x"
        assert profile.kubeflow == {"host": "https://kfp.example.com", "namespace": "other"}

    def test_options_over_environment(self, project, monkeypatch):
        monkeypatch.setenv("FLOWBRIDGE_STORE", "memory://x")
        assert load_profile(overrides={"store": "memory://y", "backend": None}, directory=project).store == "memory://y"

    def test_the_profile_by_environment(self, project, monkeypatch):
        monkeypatch.setenv("FLOWBRIDGE_PROFILE", "cluster")
        assert load_profile(directory=project).backend == "kubeflow"
        assert load_profile("laptop", directory=project).backend == "local"

    def test_a_named_profile_does_not_inherit_from_the_default_one(self, project):
        (project / "flowbridge.toml").write_text('default_profile = "a"\n[profiles.a]\nbackend = "inline"\n[profiles.b]\n')
        assert load_profile("b", directory=project).backend == "local"


class TestEnvironment:
    @pytest.mark.parametrize(
        ("variable", "text", "read"),
        [
            ("FLOWBRIDGE_TRUST", "false", {"trust": False}),
            ("FLOWBRIDGE_TRUST", "1", {"trust": True}),
            ("FLOWBRIDGE_CACHE_SIZE", "1024", {"cache_size": 1024}),
            ("FLOWBRIDGE_STORE_OPTIONS", '{"key": {"a": 1}}', {"store_options": {"key": {"a": 1}}}),
            ("FLOWBRIDGE_METAFLOW__ENV__A", "b", {"metaflow": {"env": {"a": "b"}}}),
        ],
    )
    def test_texts_become_what_the_setting_is(self, monkeypatch, tmp_path, variable, text, read):
        monkeypatch.setenv(variable, text)
        profile = load_profile(directory=tmp_path)
        assert {name: getattr(profile, name) for name in read} == read

    def test_lists_as_json(self, monkeypatch, tmp_path):
        monkeypatch.setenv("FLOWBRIDGE_MACHINE__GPUS", json.dumps(["0", "1"]))
        assert load_profile(directory=tmp_path).machine.gpus == ["0", "1"]

    @pytest.mark.parametrize("variable", ["FLOWBRIDGE_SERVICE_HOST", "FLOWBRIDGE_PORT_80_TCP", "FLOWBRIDGE_TEST_COLOUR"])
    def test_foreign_variables_of_the_prefix(self, monkeypatch, tmp_path, variable):
        """Kubernetes sets such variables in every pod of a namespace with a service that is called flowbridge."""
        monkeypatch.setenv(variable, "10.0.0.1")
        assert load_profile(directory=tmp_path) == Profile()

    @pytest.mark.parametrize(
        ("variable", "meant"),
        [
            ("FLOWBRIDGE_BACKNED", "FLOWBRIDGE_BACKEND"),
            ("FLOWBRIDGE_KUBEFLOW_HOST", "FLOWBRIDGE_KUBEFLOW__HOST"),
            ("FLOWBRIDGE_PROFIL", "FLOWBRIDGE_PROFILE"),
            ("FLOWBRIDGE_STORE_OPTION", "FLOWBRIDGE_STORE_OPTIONS"),
        ],
    )
    def test_misspelt_ones(self, monkeypatch, tmp_path, variable, meant):
        monkeypatch.setenv(variable, "x")
        with pytest.raises(ConfigError, match=rf"{variable} .*Did you mean .*{meant}"):
            load_profile(directory=tmp_path)

    def test_unknown_inside_a_table(self, monkeypatch, tmp_path):
        monkeypatch.setenv("FLOWBRIDGE_MACHINE__CPUS", "4")
        with pytest.raises(ConfigError, match=r"Unknown setting 'cpus' in machine .*'cpu'"):
            load_profile(directory=tmp_path)


class TestRefused:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ('[profiles.laptop]\nstor = "x"', r"Unknown setting 'stor' in \[profiles.laptop\].*'store'"),
            ('[profiles.laptop.machine]\nmemroy = "1Gi"', r"Unknown setting 'memroy' in machine of \[profiles.laptop\].*'memory'"),
            ('backend = "local"', r"Unknown setting 'backend'.*settings stand in \[profiles.NAME\]"),
            ("default_profile = 3", "default_profile must be the name of a profile"),
            ("profiles = 3", r"profiles must be tables"),
            ("[profiles]\nlaptop = 3", r"profiles.laptop must be a table"),
            ('[profiles.laptop]\nname = "x"', r"gives a name"),
            ('[profiles.laptop]\ntrust = "perhaps"', r"trust: .*got 'perhaps'"),
            ("[profiles.laptop]\ncache_size = -1", "cache_size: .*greater than or equal to 0"),
            ("[profiles.laptop", "is not valid TOML"),
        ],
    )
    def test_files(self, tmp_path, text, message):
        (tmp_path / "flowbridge.toml").write_text(text)
        with pytest.raises(ConfigError, match=message) as caught:
            load_profile(directory=tmp_path)
        assert "flowbridge.toml" in str(caught.value)

    def test_profiles_that_are_not_chosen_are_looked_at_too(self, project):
        (project / "flowbridge.toml").write_text('[profiles.a]\n[profiles.b]\nbackned = "x"\n')
        with pytest.raises(ConfigError, match="backned"):
            load_profile("a", directory=project)

    def test_an_unknown_profile(self, project):
        with pytest.raises(ConfigError, match=r"Unknown profile 'clutser'. Known: cluster, laptop. Did you mean 'cluster'\?"):
            load_profile("clutser", directory=project)

    def test_a_profile_where_no_file_is(self, tmp_path):
        with pytest.raises(ConfigError, match=r"write \[profiles.cluster\] in flowbridge.toml"):
            load_profile("cluster", directory=tmp_path)

    def test_an_unknown_option(self, tmp_path):
        with pytest.raises(ConfigError, match=r"'backned'.*'backend'"):
            load_profile(overrides={"backned": "local"}, directory=tmp_path)

    def test_profiles_are_frozen(self):
        with pytest.raises(ValueError, match="frozen"):
            Profile().store = "x"
