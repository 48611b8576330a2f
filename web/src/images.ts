// Pictures for the next turn: dropped, pasted or chosen.

import { create } from "@bufbuild/protobuf";
import { type ContentPart, ContentPartSchema, MediaSchema } from "./gen/vllm_adapter/v1/chat_pb";
import { button, byId, el } from "./dom";

interface Picture {
  data: Uint8Array;
  type: string;
  url: string;
}

let pictures: Picture[] = [];

/** Takes the pictures for a turn, which leaves none. */
export function takeImages(): { parts: ContentPart[]; urls: string[] } {
  const taken = pictures;
  pictures = [];
  show();
  const part = ({ data, type }: Picture) =>
    create(ContentPartSchema, { part: { case: "image", value: create(MediaSchema, { source: { case: "data", value: data }, mediaType: type }) } });
  return { parts: taken.map(part), urls: taken.map((it) => it.url) };
}

export function hasImages(): boolean {
  return pictures.length > 0;
}

async function add(files: Iterable<File>): Promise<void> {
  for (const file of files) {
    if (!file.type.startsWith("image/")) continue;
    const data = new Uint8Array(await file.arrayBuffer());
    pictures.push({ data, type: file.type, url: URL.createObjectURL(file) });
  }
  show();
}

function show(): void {
  const tray = byId("images");
  tray.replaceChildren(
    ...pictures.map((picture) => {
      const remove = button("×", "remove", () => {
        pictures = pictures.filter((it) => it !== picture);
        URL.revokeObjectURL(picture.url);
        show();
      });
      remove.setAttribute("aria-label", "Remove the image");
      return el("div", "thumbnail", [el("img", "", [], { src: picture.url, alt: "Image to send" }), remove]);
    }),
  );
}

/** Listens for pictures on the whole page. */
export function listenForImages(): void {
  const input = byId<HTMLInputElement>("file");
  byId("attach").onclick = () => input.click();
  input.onchange = async () => {
    await add(input.files ?? []);
    input.value = "";
  };
  const page = document.documentElement;
  page.addEventListener("dragover", (event) => {
    event.preventDefault();
    page.classList.add("dropping");
  });
  page.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) page.classList.remove("dropping");
  });
  page.addEventListener("drop", (event) => {
    event.preventDefault();
    page.classList.remove("dropping");
    void add(event.dataTransfer?.files ?? []);
  });
  page.addEventListener("paste", (event) => void add(event.clipboardData?.files ?? []));
}
