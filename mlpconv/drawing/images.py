"""Images as part of a page."""

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def image_data_uri(image: "npt.NDArray[np.uint8]") -> str:
    """The data URI of an image, uint8 (H, W, C) with 1 or 3 channels: a PNG file, or a JPEG file if that has less than
    half the size, as it has for photographs."""
    from PIL import Image

    content, exact = io.BytesIO(), png_data_uri(image)
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(content, "JPEG", quality=90, subsampling=0)
    small = "data:image/jpeg;base64," + base64.b64encode(content.getvalue()).decode()
    return small if 2 * len(small) < len(exact) else exact


def png_data_uri(image: "npt.NDArray[np.uint8]") -> str:
    """The data URI of a PNG file that holds an image, uint8 (H, W, C) with 1 or 3 channels."""
    from PIL import Image

    content = io.BytesIO()
    Image.fromarray(image[:, :, 0] if image.shape[2] == 1 else image).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()
