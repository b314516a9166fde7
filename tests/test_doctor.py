"""The examination of this very machine, and of machines with one thing broken."""

import json
from dataclasses import replace

import pytest
from click.testing import CliRunner

from porter import doctor
from porter.cli.doctor import doctor as command
from porter.verification.probe import Facts
from porter.versions import version_of

FRAMEWORKS = ("torch", "mindspore")


@pytest.fixture(scope="module")
def report():
    return doctor.examine()


@pytest.fixture
def pretend(monkeypatch):
    """Installed versions other than the real ones: `pretend(torch="2.5.1", mindspore=None)`."""

    def apply(**versions):
        monkeypatch.setattr(
            doctor, "version_of", lambda name: versions[name] if name in versions else version_of(name)
        )

    return apply


@pytest.fixture
def unprobed(monkeypatch, report):
    """No framework is started: the facts are those of this machine."""
    monkeypatch.setattr(doctor, "_probe", lambda name: report.frameworks[name])


def finding(report, name):
    (found,) = [f for f in report.findings if f.name == name]
    return found


def dtypes_that_run(facts: Facts, layer: str) -> set[str]:
    kernels = [kernel for kernel in facts.kernels if kernel.layer == layer]
    assert len(kernels) == 8, "four element types, evaluation and training"
    return {kernel.dtype for kernel in kernels} - {kernel.dtype for kernel in kernels if kernel.error}


def test_this_machine_converts_and_verifies_on_both(report):
    assert report.ok
    assert report.verifies == {"torch": True, "mindspore": True}
    assert not [f for f in report.findings if f.status in ("problem", "missing")]


def test_versions_are_those_installed(report):
    import mindspore
    import torch

    assert report.versions["torch"] == torch.__version__
    assert report.versions["mindspore"] == mindspore.__version__
    assert set(report.versions) == {"python", "bnport", "numpy", "click", "rich", "safetensors", "isal", *FRAMEWORKS}


def test_kernels_are_those_that_really_run_on_a_cpu(report):
    torch, mindspore = (report.frameworks[name] for name in FRAMEWORKS)
    assert dtypes_that_run(torch, "torch.nn.BatchNorm3d") == {"float32", "float16", "bfloat16", "float64"}
    assert dtypes_that_run(mindspore, "mindspore.nn.BatchNorm3d") == {"float32", "float16"}
    assert dtypes_that_run(mindspore, "mindspore.mint.nn.BatchNorm3d") == set()
    assert mindspore.signature == "classic"
    assert mindspore.devices == ("CPU",)


def test_a_layer_without_kernel_is_named_with_the_reason(report):
    mint = finding(report, "mindspore.mint.nn.BatchNorm3d on CPU")
    assert mint.status == "warning"
    assert "BatchNormExt" in mint.detail


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_a_missing_framework_is_named_with_what_to_type(pretend, unprobed, framework):
    pretend(**{framework: None})
    report = doctor.examine()
    assert report.ok, "conversion needs no framework"
    assert report.verifies[framework] is False
    assert report.frameworks[framework] is None
    assert finding(report, framework).status == "missing"
    assert finding(report, framework).hint == f"pip install 'bnport[{framework}]'"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("import os; os.abort()", "crashed with SIGABRT"),
        (
            "raise ImportError('libgomp.so.1: no such file')",
            "does not import: ImportError: libgomp.so.1: no such file",
        ),
        ("import sys; sys.exit(3)", "does not import: no message"),
    ],
)
def test_a_framework_that_breaks_is_a_finding(pretend, monkeypatch, tmp_path, source, said):
    (tmp_path / "torch.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    pretend(mindspore=None, torch="2.13.0")
    report = doctor.examine()
    assert finding(report, "torch").status == "problem"
    assert finding(report, "torch").detail == f"2.13.0 {said}"
    assert report.verifies == {"torch": False, "mindspore": False}
    assert report.ok


def test_a_framework_that_hangs_is_a_finding(pretend, monkeypatch, tmp_path):
    (tmp_path / "torch.py").write_text("import time; time.sleep(60)")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "_PROBE_SECONDS", 1)
    pretend(mindspore=None)
    assert finding(doctor.examine(), "torch").detail.endswith("gave no answer within 1 s")


def test_a_framework_that_cannot_run_float32_is_a_problem(monkeypatch, pretend, report):
    kernels = report.frameworks["torch"].kernels
    broken = tuple(replace(kernel, error="no kernel") if kernel.dtype == "float32" else kernel for kernel in kernels)
    facts = replace(report.frameworks["torch"], kernels=broken)
    monkeypatch.setattr(doctor, "_probe", lambda name: facts)
    pretend(mindspore=None)
    result = doctor.examine()
    assert finding(result, "torch.nn.BatchNorm3d on cpu").status == "problem"
    assert result.verifies["torch"] is False


def test_numpy_2_beside_mindspore_is_a_trap(pretend, unprobed):
    pretend(numpy="2.4.6")
    trap = finding(doctor.examine(), "numpy and mindspore")
    assert (trap.status, trap.hint) == ("problem", "pip install 'numpy<2'")
    pretend(numpy="2.4.6", mindspore=None)
    assert not [f for f in doctor.examine().findings if f.name == "numpy and mindspore"]


@pytest.mark.parametrize(
    ("installed", "advisories"),
    [
        ("2.5.1", {"CVE-2025-32434", "CVE-2026-24747"}),
        ("2.9.1+cpu", {"CVE-2026-24747"}),
        ("2.10.0", set()),
        ("2.13.0+cpu", set()),
    ],
)
def test_torch_advisories(pretend, unprobed, installed, advisories):
    pretend(torch=installed)
    found = [f for f in doctor.examine().findings if f.name == "torch advisories"]
    named = {name for name in ("CVE-2025-32434", "CVE-2026-24747") if found and name in found[0].detail}
    assert named == advisories
    assert bool(found) == bool(advisories)


def test_log_level_5_is_a_trap_that_bnport_itself_survives(pretend, monkeypatch):
    monkeypatch.setenv("GLOG_v", "5")
    pretend(torch=None)
    report = doctor.examine()
    assert finding(report, "GLOG_v").status == "warning"
    assert report.verifies["mindspore"]


@pytest.mark.parametrize("distribution", ["numpy", "safetensors", "isal"])
def test_a_broken_core_package_is_a_problem_for_conversion(pretend, unprobed, monkeypatch, distribution):
    monkeypatch.setitem(doctor._CORE, distribution, "no_such_module")
    report = doctor.examine()
    assert not report.ok
    assert finding(report, distribution).status == "problem"
    pretend(**{distribution: None})
    assert finding(doctor.examine(), distribution).status == "missing"


@pytest.mark.parametrize("running", ["3.9.18", "3.13.1", "3.14.0"])
def test_an_untested_python_is_a_warning(monkeypatch, unprobed, running):
    monkeypatch.setattr(doctor.platform, "python_version", lambda: running)
    report = doctor.examine()
    assert finding(report, "Python").status == "warning"
    assert report.ok


def test_the_json_document_says_what_the_report_says(monkeypatch, report):
    monkeypatch.setattr(doctor, "examine", lambda: report)
    result = CliRunner().invoke(command, ["--json"])
    document = json.loads(result.stdout)
    assert result.exit_code == 0
    assert document["schema"] == "bnport.doctor/1"
    assert document["ok"] is True
    assert document["verifies"] == {"torch": True, "mindspore": True}
    assert [f["name"] for f in document["findings"]] == [f.name for f in report.findings]
    assert document["frameworks"]["mindspore"]["devices"] == ["CPU"]
    assert document == json.loads(json.dumps(report.to_json()))


def test_the_table_shows_every_finding_and_the_conclusion(monkeypatch, report):
    monkeypatch.setattr(doctor, "examine", lambda: report)
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(command, [])
    assert result.exit_code == 0
    for each in report.findings:
        assert each.name in result.stdout
        assert each.detail[:60] in result.stdout
    assert "Conversion works. Layers can be verified on torch and mindspore." in result.stdout


def test_exit_code_5_when_conversion_cannot_work(monkeypatch, report):
    missing = doctor.Finding("numpy", "conversion", "missing", "not installed", "pip install 'numpy<2'")
    monkeypatch.setattr(doctor, "examine", lambda: replace(report, findings=(missing,)))
    result = CliRunner().invoke(command, [], standalone_mode=False)
    assert result.return_value == 5
    assert "Conversion does NOT work" in result.stdout
