"""Loading botocore's service models."""

import sys
from subprocess import run

import pytest

from router.aws.model import API_VERSIONS, load_model, operation_names


def test_only_shapes_that_the_operations_reach_are_kept() -> None:
    model = load_model("events", ["DescribeRule"])
    assert set(model.operations) == {"DescribeRule"}
    assert model.shapes["DescribeRuleRequest"].members == {"Name": "RuleName", "EventBusName": "EventBusNameOrArn"}
    assert "PutTargetsRequest" not in model.shapes


def test_an_operation_without_output_says_so() -> None:
    assert load_model("events", ["DeleteRule"]).operations["DeleteRule"].output is None


def test_an_unknown_operation_is_refused() -> None:
    with pytest.raises(KeyError, match="PutRules"):
        load_model("events", ["PutRules"])


@pytest.mark.parametrize(
    ("service", "prefix", "version"),
    [("events", "AWSEvents", "1.1"), ("sqs", "AmazonSQS", "1.0"), ("logs", "Logs_20140328", "1.1")],
)
def test_a_model_names_its_protocol(service: str, prefix: str, version: str) -> None:
    model = load_model(service, [])
    assert (model.target_prefix, model.json_version, model.shapes) == (prefix, version, {})


@pytest.mark.parametrize("service", API_VERSIONS)
def test_every_operation_of_a_model_loads(service: str) -> None:
    model = load_model(service, operation_names(service))
    assert len(model.operations) > 20


def test_the_models_are_read_without_botocores_own_machinery() -> None:
    script = (
        "import sys, router.aws.service, router.aws.sigv4\n"
        "router.aws.service.Service('events', {})\n"
        "assert not {'botocore.model', 'botocore.session', 'botocore.loaders', 'botocore.auth'} & set(sys.modules)"
    )
    done = run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
