"""What Metaflow deploys to: the artefacts, made by Metaflow itself against a small AWS on this machine, and looked at with their owners' means."""

from __future__ import annotations

import ast
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowbridge.errors import ConfigError, UnsupportedError
from tests.unit.backends.metaflow import run_flows
from tests.unit.backends.metaflow.airflow import airflow_python, read_by_airflow

pytest.importorskip("metaflow")
pytest.importorskip("moto.server")
pytestmark = pytest.mark.metaflow

ROLE = "arn:aws:iam::123456789012:role/batch"


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    """A small AWS with a bucket for Metaflow, one for flowbridge, and a queue of AWS Batch; as variables."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    env = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": url,
        "METAFLOW_S3_ENDPOINT_URL": url,
        "METAFLOW_DATASTORE_SYSROOT_S3": "s3://mfbucket/root",
        "METAFLOW_DATATOOLS_S3ROOT": "s3://mfbucket/dt",
        "METAFLOW_USER": "tester",
        "METAFLOW_BATCH_JOB_QUEUE": "queue",
        "METAFLOW_ECS_S3_ACCESS_IAM_ROLE": ROLE,
        "METAFLOW_SFN_IAM_ROLE": ROLE,
        "METAFLOW_SFN_DYNAMO_DB_TABLE": "table",
        "METAFLOW_EVENTS_SFN_ACCESS_IAM_ROLE": ROLE,
    }
    before = {name: os.environ.get(name) for name in env}
    os.environ.update(env)
    try:
        _furnish(url)
        yield env
    finally:
        server.stop()
        for name, value in before.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _furnish(url: str) -> None:
    import boto3

    def client(name: str) -> Any:
        return boto3.client(name, endpoint_url=url)

    for bucket in ("mfbucket", "fbstore"):
        client("s3").create_bucket(Bucket=bucket)
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": {"Service": "x"}, "Action": "sts:AssumeRole"}]}
    role = client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument=json.dumps(trust))["Role"]["Arn"]
    profile = client("iam").create_instance_profile(InstanceProfileName="prof")["InstanceProfile"]["Arn"]
    client("iam").add_role_to_instance_profile(InstanceProfileName="prof", RoleName="batch")
    resources = {
        "type": "EC2",
        "minvCpus": 0,
        "maxvCpus": 8,
        "desiredvCpus": 0,
        "instanceTypes": ["optimal"],
        "subnets": [client("ec2").describe_subnets()["Subnets"][0]["SubnetId"]],
        "securityGroupIds": [client("ec2").describe_security_groups()["SecurityGroups"][0]["GroupId"]],
        "instanceRole": profile,
    }
    made = client("batch").create_compute_environment(
        computeEnvironmentName="envv", type="MANAGED", state="ENABLED", serviceRole=role, computeResources=resources
    )
    order = [{"order": 1, "computeEnvironment": made["computeEnvironmentArn"]}]
    client("batch").create_job_queue(jobQueueName="queue", state="ENABLED", priority=1, computeEnvironmentOrder=order)


@pytest.fixture
def target(aws: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compile for a target and return the artefact."""

    def make(name: str, flow: Any = run_flows.deployed) -> str:
        monkeypatch.setenv("FLOWBRIDGE_METAFLOW__TARGET", name)
        monkeypatch.setenv("FLOWBRIDGE_METAFLOW__DATASTORE", "s3")
        compiled = flow.compile(backend="metaflow", store="s3://fbstore/flows")
        assert list(compiled.files)[:3] == [f"{flow.name}.py", f"{flow.name}.flow.json", f"{flow.name}.code.zip"]
        return list(compiled.files.values())[-1].decode()

    return make


def test_argo_workflows(target: Any) -> None:
    models = pytest.importorskip("hera.workflows.models")
    template = json.loads(target("argo-workflows"))
    assert template["kind"] == "WorkflowTemplate"
    read = models.WorkflowTemplate.model_validate(template)
    steps = {t.name for t in read.spec.templates}
    assert {"start", "numbers", "square", "total", "end"} <= steps
    (square,) = (t for t in read.spec.templates if t.name == "square")
    assert square.retry_strategy.limit.root == 2
    assert square.container.resources.requests["cpu"].root == "2.0"
    assert square.container.image == "python:3.11"
    assert json.loads(template["metadata"]["annotations"]["metaflow/cron"])["schedule"] == "0 6 * * 1"
    assert "{{secret}}" not in json.dumps(template)


def test_step_functions(target: Any) -> None:
    import boto3

    machine = json.loads(target("step-functions"))
    names = set(machine["States"])
    assert {"start", "numbers", "end"} <= names
    assert any(state["Type"] == "Map" for state in machine["States"].values())
    made = boto3.client("stepfunctions").create_state_machine(name="deployed", definition=json.dumps(machine), roleArn=ROLE)
    assert made["stateMachineArn"].endswith(":deployed")


def test_airflow(target: Any) -> None:
    text = target("airflow")
    assert "'0 6 * * 1'" in text or '"0 6 * * 1"' in text
    config = next(n.value for n in ast.parse(text).body if isinstance(n, ast.Assign) and n.targets[0].id == "CONFIG")  # type: ignore[attr-defined]
    states = ast.literal_eval(config)["states"]
    assert set(states) == {"start", "numbers", "square", "total", "end"}
    assert states["square"]["is_mapper_node"]


@pytest.mark.slow
def test_the_airflow_file_is_taken_by_airflow(target: Any, tmp_path: Path) -> None:
    """Airflow itself reads it, in an environment of its own."""
    said = read_by_airflow(airflow_python(), target("airflow"), tmp_path).splitlines()
    assert "schedule 0 6 * * 1" in said
    tasks = dict(line.split(maxsplit=2)[1:] for line in said if line.startswith("task "))
    assert set(tasks) == {"start", "numbers", "square", "total", "end"}
    assert tasks["square"].startswith("Mapped")
    assert tasks["numbers"].endswith(" square")


@pytest.mark.slow
def test_airflow_takes_maps_of_several_steps(target: Any, tmp_path: Path) -> None:
    said = read_by_airflow(airflow_python(), target("airflow", run_flows.triangles), tmp_path)
    assert said.count(" Mapped") == 2


def test_deploying_to_airflow_writes_into_its_folder(aws: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from flowbridge.client.deploying import deploy

    monkeypatch.setenv("FLOWBRIDGE_METAFLOW__TARGET", "airflow")
    monkeypatch.setenv("FLOWBRIDGE_METAFLOW__DATASTORE", "s3")
    with pytest.raises(ConfigError, match="dags"):
        deploy(run_flows.deployed, backend="metaflow", store="s3://fbstore/flows")
    monkeypatch.setenv("FLOWBRIDGE_METAFLOW__DAGS", str(tmp_path / "dags"))
    made = deploy(run_flows.deployed, backend="metaflow", store="s3://fbstore/flows")
    assert Path(made.id).read_text().startswith("# Deployed on")


def test_deploy_command_gives_a_name_a_schedule_and_parameters(
    aws: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Metaflow knows defaults only: what the command gives becomes the default of the deployment."""
    from flowbridge.cli.main import call

    for name, value in {"TARGET": "airflow", "DATASTORE": "s3", "DAGS": str(tmp_path / "dags")}.items():
        monkeypatch.setenv(f"FLOWBRIDGE_METAFLOW__{name}", value)
    words = ["tests.unit.backends.metaflow.run_flows:deployed", "--backend", "metaflow", "--store", "s3://fbstore/flows"]
    assert call(["deploy", *words, "--name", "deployed_5", "--schedule", "0 6 * * *", "--n", "5"]) == 0
    assert capsys.readouterr().out.startswith("Deployed deployed as deployed_5\nSchedule: 0 6 * * *\n")
    dag = (tmp_path / "dags" / "deployed_5.py").read_text()
    assert "'dag_id': 'deployed_5'" in dag
    assert "0 6 * * *" in dag
    assert "'default': 5" in dag
    assert call(["deploy", *words, "--schedule", "0 6 * * *", "--timezone", "Europe/Berlin"]) == 2
    assert "the clocks of Europe/Berlin are moved" in capsys.readouterr().err


def test_what_runs_here_is_not_deployed(tmp_path: Path) -> None:
    from flowbridge.client.deploying import deploy

    with pytest.raises(ConfigError, match="argo-workflows, step-functions, airflow"):
        deploy(run_flows.deployed, backend="metaflow", store=str(tmp_path))


def test_both_stores_in_a_bucket(aws: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Metaflow's datastore and flowbridge's store lie beside each other in S3."""
    monkeypatch.setenv("FLOWBRIDGE_METAFLOW__DATASTORE", "s3")
    run = run_flows.deployed.options(backend="metaflow", store="s3://fbstore/flows").run(2)
    assert run.result() == 1
    import boto3

    found = boto3.client("s3").list_objects_v2(Bucket="mfbucket", Prefix=f"root/{run.native}")
    assert found["KeyCount"] > 0
    cards = boto3.client("s3").list_objects_v2(Bucket="mfbucket", Prefix="root/mf.cards/deployed")
    assert any(o["Key"].endswith(".html") for o in cards["Contents"])


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"METAFLOW_DATASTORE_SYSROOT_S3": "s3://nosuchbucket/root"}, "there is no bucket 'nosuchbucket'"),
        ({"METAFLOW_DATASTORE_SYSROOT_S3": "/some/folder"}, "is no bucket: write s3://BUCKET/FOLDER"),
        ({"METAFLOW_S3_ENDPOINT_URL": "http://127.0.0.1:9"}, "cannot be reached"),
        ({"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}, "needs credentials of AWS"),
    ],
)
@pytest.mark.parametrize("target", ["local", "argo-workflows"])
def test_a_datastore_that_is_not_there_is_told_before_anything_starts(
    aws: dict[str, str], target: str, variables: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Metaflow itself tries again for minutes, in its first task."""
    from flowbridge import runs

    for name, value in {**variables, "FLOWBRIDGE_METAFLOW__DATASTORE": "s3", "FLOWBRIDGE_METAFLOW__TARGET": target}.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    begin = {
        "local": lambda: run_flows.deployed.options(backend="metaflow", store=str(tmp_path)).run(2),
        "argo-workflows": lambda: run_flows.deployed.compile(backend="metaflow", store="s3://fbstore/flows"),
    }
    with pytest.raises(ConfigError, match=said):
        begin[target]()
    assert list(runs(store=str(tmp_path))) == []


def test_a_bucket_that_is_not_named(aws: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FLOWBRIDGE_METAFLOW__TARGET", "argo-workflows")
    monkeypatch.delenv("METAFLOW_DATASTORE_SYSROOT_S3")
    monkeypatch.setenv("FLOWBRIDGE_METAFLOW__DATASTORE", "s3")
    with pytest.raises(UnsupportedError, match="METAFLOW_DATASTORE_SYSROOT_S3"):
        run_flows.deployed.options(backend="metaflow", store="s3://fbstore/flows").run(2)
