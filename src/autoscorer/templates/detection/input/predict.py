"""Starter: one box round all that is bright, always of the first category. The score to beat."""

import json
from pathlib import Path

BRIGHT = 128

# The program starts in the workspace: input/ can be read, output/ can be written, there is no network.
listing = json.loads(Path("input/images.json").read_text(encoding="utf-8"))

detections = []
for image in listing["images"]:
    # A plain PGM is text: "P2", width, height, maximum, then the grey values row by row.
    words = (Path("input/images") / image["file_name"]).read_text(encoding="ascii").split()
    width, grey = int(words[1]), [int(word) for word in words[4:]]

    # Your model goes here: find boxes, their categories, and how sure you are of each.
    bright = [divmod(index, width) for index, value in enumerate(grey) if value >= BRIGHT]
    top, bottom = min(y for y, _ in bright), max(y for y, _ in bright)
    left, right = min(x for _, x in bright), max(x for _, x in bright)
    inside = [grey[y * width + x] for y in range(top, bottom + 1) for x in range(left, right + 1)]
    detections.append(
        {
            "image_id": image["id"],
            "category_id": listing["categories"][0]["id"],
            "bbox": [left, top, right - left + 1, bottom - top + 1],  # x, y, width, height in pixels
            "score": sum(inside) / len(inside) / 255,  # the surest box counts first
        }
    )

Path("output").mkdir(exist_ok=True)
Path("output/pred.json").write_text(json.dumps(detections, indent=1), encoding="utf-8")
