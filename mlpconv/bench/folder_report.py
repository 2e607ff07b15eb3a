"""A result of `mlpconv bench folder` for people."""

from typing import Any

from mlpconv.reports.provenance import provenance_line


def lines(result: dict[str, Any]) -> list[str]:
    """The measurements, with a sentence on each line."""
    trained = result["training"]
    few, all_ = trained["small"], trained["all"]
    said = [
        f"{result['images']:,} images: read in {result['scan_seconds']:.1f} s, decoded into the cache in "
        f"{result['decode_seconds']:.1f} s, together {result['seconds']:.1f} s",
        f"random batches from the cache: {result['cached_per_second']:,.0f} images/s, {result['speedup']:,.0f} times "
        f"as fast as decoding ({result['decoded_per_second']:,.0f} images/s)",
        f"training nin_32, {trained['steps']} steps: {all_['images_per_second']:,.0f} images/s on {all_['images']:,} "
        f"images, of which none is in memory at first, {few['images_per_second']:,.0f} on {few['images']:,} that are; "
        f"ratio {trained['ratio']:.3f} (medians; rounds: {', '.join(f'{each:.3f}' for each in trained['ratios'])})",
    ]
    if all_["peak_bytes"] is not None:
        said.append(
            f"training has {all_['peak_bytes'] / 1e9:.2f} GB resident at the peak, mapped pages counted "
            f"({few['peak_bytes'] / 1e9:.2f} on few images); it may allocate {result['memory_gb']:g} GB, a "
            "limit that the system holds (RLIMIT_DATA)"
        )
    return said


def gates(result: dict[str, Any]) -> list[str]:
    """A line for each gate, with pass or FAIL."""
    return [
        f"{'pass' if gate['passed'] else 'FAIL'}  {gate['name']}: {gate['value']:,.4g} "
        f"({'≤' if gate['below'] else '≥'} {gate['bound']:,g})"
        for gate in result["gates"]
    ]


def markdown(result: dict[str, Any]) -> str:
    """The result as a page."""
    made = f", {result['generated']:,} generated JPEG files of 32×32" if result["generated"] else ""
    return "\n".join(
        [
            f"# A folder of images{made}",
            "",
            *(f"- {line}" for line in lines(result)),
            "",
            "Gates:",
            "",
            *(f"- {line}" for line in gates(result)),
            "",
            provenance_line(result),
            "",
        ]
    )
