"""The files in docs/serving are what TensorFlow Serving, Compose and Kubernetes expect."""

import pathlib
import re

import kubernetes_validate
import pytest
import yaml
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from google.protobuf import wrappers_pb2 as wrappers
from tensorflow_serving.config import model_server_config_pb2

from hifill import exporting

SERVING = pathlib.Path(__file__).resolve().parents[1] / "docs" / "serving"

# The package tensorflow-serving-api leaves these two messages out. Their fields, as in
# tensorflow_serving/servables/tensorflow/session_bundle_config.proto (the last two in
# bundle_factory_util.h) and tensorflow_serving/config/monitoring_config.proto.
MESSAGES = {
    "BatchingParameters": {
        "max_batch_size": ".google.protobuf.Int64Value",
        "batch_timeout_micros": ".google.protobuf.Int64Value",
        "max_enqueued_batches": ".google.protobuf.Int64Value",
        "num_batch_threads": ".google.protobuf.Int64Value",
        "thread_pool_name": ".google.protobuf.StringValue",
        "enable_large_batch_splitting": ".google.protobuf.BoolValue",
        "max_execution_batch_size": ".google.protobuf.Int64Value",
    },
    "MonitoringConfig": {"prometheus_config": ".serving.PrometheusConfig"},
    "PrometheusConfig": {"enable": "bool", "path": "string"},
}

# Of the flags in tensorflow_serving/model_servers/main.cc, those to run one server with.
SERVER_FLAGS = set(
    re.findall(
        r"\w+",
        """
    allow_version_labels_for_unavailable_models batching_parameters_file enable_batching
    enable_grpc_healthcheck_service enable_model_warmup file_system_poll_wait_seconds
    flush_filesystem_caches grpc_channel_arguments grpc_max_threads grpc_socket_path
    load_retry_interval_micros max_num_load_retries model_base_path model_config_file
    model_config_file_poll_wait_seconds model_name monitoring_config_file num_load_threads
    num_request_iterations_for_warmup num_unload_threads per_process_gpu_memory_fraction port
    rest_api_num_threads rest_api_port rest_api_timeout_in_ms ssl_config_file
    tensorflow_inter_op_parallelism tensorflow_intra_op_parallelism tensorflow_session_parallelism
        """,
    )
)


def message_class(name):
    field = descriptor_pb2.FieldDescriptorProto
    types = {"bool": field.TYPE_BOOL, "string": field.TYPE_STRING}
    file = descriptor_pb2.FileDescriptorProto(
        name="serving.proto",
        package="serving",
        syntax="proto3",
        dependency=[wrappers.DESCRIPTOR.name],
    )
    for message, fields in MESSAGES.items():
        described = file.message_type.add(name=message)
        for number, (field_name, kind) in enumerate(fields.items(), 1):
            added = described.field.add(name=field_name, number=number, label=field.LABEL_OPTIONAL)
            added.type = types.get(kind, field.TYPE_MESSAGE)
            if kind not in types:
                added.type_name = kind
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"serving.{name}"))


def parsed(name, message):
    return text_format.Parse((SERVING / name).read_text(), message)


@pytest.fixture(scope="module")
def model():
    config = parsed("models.config", model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    return model


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((SERVING / "compose.yaml").read_text())["services"]["hifill"]


@pytest.fixture(scope="module")
def deployment_and_service():
    deployment, service = yaml.safe_load_all((SERVING / "kubernetes.yaml").read_text())
    assert (deployment["kind"], service["kind"]) == ("Deployment", "Service")
    return deployment, service


@pytest.fixture(scope="module")
def pod(deployment_and_service):
    return deployment_and_service[0]["spec"]["template"]


@pytest.fixture(scope="module")
def container(pod):
    (container,) = pod["spec"]["containers"]
    return container


def test_models_config_serves_what_is_exported(model):
    assert model.name == exporting.MODEL
    assert model.base_path == f"/models/{exporting.MODEL}"
    assert model.model_platform == "tensorflow"
    assert model.model_version_policy.latest.num_versions == 2


def test_labels_in_the_comment_are_valid():
    text = (SERVING / "models.config").read_text().replace("# version_labels", "version_labels")
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert dict(model.version_labels) == {"stable": 1, "canary": 2}


def test_batching_config_never_merges_photos():
    batching = parsed("batching.config", message_class("BatchingParameters")())
    assert batching.max_execution_batch_size.value == 1
    assert batching.enable_large_batch_splitting.value
    # The server refuses a limit of requests below that of runs.
    assert batching.max_batch_size.value >= batching.max_execution_batch_size.value
    # A request has to fit into the queue.
    assert batching.max_enqueued_batches.value >= batching.max_batch_size.value
    assert batching.num_batch_threads.value >= 1
    assert batching.batch_timeout_micros.value == 0


def test_a_misspelt_field_would_be_noticed():
    with pytest.raises(text_format.ParseError, match="max_batch_sizes"):
        text_format.Parse("max_batch_sizes { value: 1 }", message_class("BatchingParameters")())


def test_monitoring_config_is_where_prometheus_looks(pod):
    prometheus = parsed("monitoring.config", message_class("MonitoringConfig")()).prometheus_config
    assert prometheus.enable
    annotations = pod["metadata"]["annotations"]
    assert prometheus.path == annotations["prometheus.io/path"]
    assert annotations["prometheus.io/port"] == "8501"


@pytest.fixture(scope="module")
def flags(container):
    """Dict from each of the server's flags to its value."""
    return dict(argument.removeprefix("--").partition("=")[::2] for argument in container["args"])


def test_kubernetes_knows_every_field(deployment_and_service):
    for described in deployment_and_service:
        version = kubernetes_validate.latest_version()
        kubernetes_validate.validate(described, version, strict=True)


def test_compose_knows_every_field(compose):
    assert set(compose) == {
        *("image", "command", "ports", "volumes", "mem_limit", "restart", "healthcheck"),
    }
    assert set(compose["healthcheck"]) == {
        *("test", "interval", "timeout", "retries", "start_period"),
    }


def test_the_server_knows_every_flag(flags):
    text = (SERVING.parent / "serving.md").read_text()
    named = set(re.findall(r"`--((?:rest_api|grpc|allow|per_process|ssl)_\w+)", text))
    assert named and set(flags) | named <= SERVER_FLAGS


def test_the_queue_is_full_before_the_threads_run_out(flags):
    assert "enable_batching" in flags and flags["batching_parameters_file"]
    batching = parsed("batching.config", message_class("BatchingParameters")())
    at_once = batching.num_batch_threads.value + batching.max_enqueued_batches.value
    for protocol in ("grpc_max_threads", "rest_api_num_threads"):
        assert int(flags[protocol]) > at_once + 1  # the one that is refused


def test_a_server_with_labels_starts_again(flags):
    """At its start no version is loaded yet, and a label is refused for one that is not."""
    assert "allow_version_labels_for_unavailable_models" in flags


def test_compose_and_kubernetes_run_the_same_server(compose, container):
    assert compose["image"] == container["image"]
    assert compose["command"] == container["args"]
    files = [argument.split("=")[1] for argument in container["args"] if "_file=" in argument]
    assert len(files) == 3
    for file in files:
        folder, name = file.rsplit("/", 1)
        assert folder == "/config"
        assert (SERVING / name).is_file()


def test_both_mount_models_and_configuration(model, compose, pod, container):
    assert [volume.split(":")[-2] for volume in compose["volumes"]] == ["/models", "/config"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert mounts == {"models": "/models", "config": "/config"}
    volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
    assert set(volumes) == set(mounts)
    created = f"kubectl create configmap {volumes['config']['configMap']['name']} "
    for text in ("kubernetes.yaml", "../serving.md"):
        assert created in (SERVING / text).read_text()
    assert pathlib.PurePosixPath(model.base_path).parent == pathlib.PurePosixPath("/models")


def test_both_open_both_ports(compose, container, deployment_and_service):
    assert compose["ports"] == ["8500:8500", "8501:8501"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    deployment, service = deployment_and_service
    assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]} == ports
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert service["spec"]["selector"] == deployment["spec"]["selector"]["matchLabels"] == labels


def test_probes_ask_for_the_model(compose, container):
    status = f"/v1/models/{exporting.MODEL}"
    for probe in ("startupProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": status, "port": "rest"}
    assert container["livenessProbe"]["tcpSocket"] == {"port": "grpc"}
    assert f"GET {status} HTTP" in compose["healthcheck"]["test"][-1]
    assert container["resources"]["limits"]["memory"] == "4Gi"
    assert compose["mem_limit"] == "4g"
