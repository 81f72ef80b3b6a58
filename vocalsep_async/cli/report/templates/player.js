"use strict";

// The players of the songs. The stems of a song are audio elements that play together; one of them,
// the longest, leads, and the others keep to its time. Not with Web Audio, which has no access to
// files beside a page that was opened from a disk.

const AUDIBLE_DRIFT = 0.015; // seconds
const LARGE_DRIFT = 0.3; // seconds; from here on, a stem jumps to the place of the leader
const MAX_CORRECTION = 0.06; // of the speed, a semitone
let current = null;

class Player {
  constructor(list, name, waveforms) {
    this.name = name;
    this.position = 0; // seconds
    this.isPlaying = false;
    this.leader = null;
    this.attempt = 0;
    const loudest = Math.max(1, ...waveforms.filter(Boolean).flatMap(([levels]) => [...bytes(levels)]));
    this.stems = Array.from(
      list.children,
      (item, index) => new Stem(this, item, waveforms[index], loudest),
    );
    this.addTransport(list);
    this.mix();
    this.paint();
  }

  addTransport(list) {
    const transport = element("div", "transport");
    transport.setAttribute("role", "group");
    transport.setAttribute("aria-label", `Player of ${this.name}`);
    this.button = element("button", "play");
    this.button.type = "button";
    this.button.addEventListener("click", () => (this.isPlaying ? this.pause() : this.play()));
    this.seeker = element("input", "seek");
    this.seeker.type = "range";
    this.seeker.step = "0.01";
    this.seeker.setAttribute("aria-label", "Position");
    this.seeker.addEventListener("input", () => this.seek(Number(this.seeker.value)));
    // The smallest steps of a slider would be too small for its keys.
    this.seeker.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: 10, PageDown: -10 }[event.key];
      if (!step) return;
      event.preventDefault();
      this.seek(this.position + step);
    });
    this.time = element("span", "time");
    this.time.setAttribute("aria-hidden", "true");
    transport.append(this.button, this.seeker, this.time);
    list.before(transport);
  }

  get length() {
    return Math.max(0, ...this.stems.map((stem) => stem.length));
  }

  async play() {
    if (current !== this) current?.pause();
    current = this;
    const attempt = ++this.attempt;
    this.isPlaying = true;
    if (this.position >= this.length) this.position = 0;
    this.paint();
    await Promise.all(this.stems.map((stem) => stem.prepare(this.position)));
    if (attempt !== this.attempt) return;
    const playable = this.stems.filter((stem) => !stem.isBroken);
    this.leader = playable.reduce(
      (longest, stem) => (longest && longest.length >= stem.length ? longest : stem),
      null,
    );
    if (!this.leader) {
      this.pause();
      return;
    }
    for (const stem of playable) stem.start(this.position);
    this.follow(attempt);
  }

  pause() {
    this.attempt += 1;
    this.isPlaying = false;
    this.leader = null;
    for (const stem of this.stems) stem.audio.pause();
    this.paint();
  }

  seek(seconds) {
    this.position = Math.min(Math.max(0, seconds), this.length);
    if (this.leader) for (const stem of this.stems) stem.start(this.position);
    this.paint();
  }

  follow(attempt) {
    if (attempt !== this.attempt) return;
    const leader = this.leader.audio;
    if (leader.ended) {
      this.pause();
      this.position = 0;
    } else {
      this.position = leader.currentTime;
      for (const stem of this.stems) if (stem !== this.leader) stem.keepTime(this.position);
      requestAnimationFrame(() => this.follow(attempt));
    }
    this.paint();
  }

  mix() {
    const hasSolo = this.stems.some((stem) => stem.isSolo);
    for (const stem of this.stems) stem.setAudible(!stem.isMuted && (stem.isSolo || !hasSolo));
  }

  paint() {
    const length = this.length;
    this.button.setAttribute("aria-label", `${this.isPlaying ? "Pause" : "Play"} ${this.name}`);
    this.button.classList.toggle("playing", this.isPlaying);
    this.seeker.disabled = !length;
    this.seeker.max = String(length);
    this.seeker.value = String(this.position);
    const time = `${clock(Math.floor(this.position))} / ${clock(Math.round(length))}`;
    if (this.time.textContent !== time) {
      this.time.textContent = time;
      this.seeker.setAttribute("aria-valuetext", time.replace("/", "of"));
    }
    for (const stem of this.stems) stem.paint(this.position, length);
  }
}

class Stem {
  constructor(player, item, waveform, loudest) {
    this.player = player;
    this.item = item;
    this.link = item.querySelector("a");
    this.seconds = waveform ? waveform[1] : 0;
    this.isSolo = false;
    this.isMuted = false;
    this.isOver = false; // shorter than its song, which plays a later part
    this.audio = document.createElement("audio");
    this.audio.preload = "none";
    this.audio.src = this.link.href;
    // Small corrections of the speed must not be heard as those of a changed sound.
    this.audio.preservesPitch = false;
    this.audio.addEventListener("error", () => {
      setNote(item, "The file cannot be played. Was it moved?").setAttribute("role", "alert");
      if (player.leader === this) player.pause();
      else player.paint();
    });
    this.audio.addEventListener("loadedmetadata", () => player.paint());
    // Also a key of the keyboard or a headset can pause it.
    this.audio.addEventListener("pause", () => {
      if (player.isPlaying && !this.isOver && !this.audio.ended) player.pause();
    });
    if (waveform) this.addWave(player, waveform, loudest);
    else setNote(item, "no waveform");
    item.append(this.switches(player), this.audio);
  }

  get isBroken() {
    return Boolean(this.audio.error);
  }

  get length() {
    if (this.isBroken) return 0;
    return Number.isFinite(this.audio.duration) ? this.audio.duration : this.seconds;
  }

  switches(player) {
    const group = element("span", "switches");
    const solo = toggle("Solo", this.link.textContent, (isOn) => (this.isSolo = isOn), player);
    const mute = toggle("Mute", this.link.textContent, (isOn) => (this.isMuted = isOn), player);
    group.append(solo, mute);
    return group;
  }

  addWave(player, [levels, seconds], loudest) {
    const length = element("small");
    length.textContent = clock(Math.round(seconds));
    this.item.querySelector(".stem").append(length);
    this.wave = element("div", "wave");
    // Hidden from assistive technology: the slider does the same, also with the keyboard.
    this.wave.setAttribute("aria-hidden", "true");
    const shape = waveShape(bytes(levels), loudest);
    this.drawn = drawWave(shape);
    this.played = drawWave(shape);
    this.played.classList.add("played");
    this.wave.append(this.drawn, this.played);
    const seek = (event) => {
      const box = this.wave.getBoundingClientRect();
      player.seek((player.length * (event.clientX - box.left)) / box.width);
    };
    this.wave.addEventListener("pointerdown", (event) => {
      this.wave.setPointerCapture(event.pointerId);
      seek(event);
    });
    this.wave.addEventListener("pointermove", (event) => {
      if (this.wave.hasPointerCapture(event.pointerId)) seek(event);
    });
    this.item.append(this.wave);
  }

  // Have the data at *position*, so that all stems can start at the same time.
  async prepare(position) {
    const { audio } = this;
    if (this.isBroken) return;
    if (audio.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) {
      audio.preload = "auto";
      audio.load();
      await this.next("canplay");
    }
    if (!this.isBroken && position < this.length && audio.currentTime !== position) {
      audio.currentTime = position;
      await this.next("seeked");
    }
  }

  next(event) {
    return new Promise((resolve) => {
      for (const name of [event, "error"]) this.audio.addEventListener(name, resolve, { once: true });
    });
  }

  start(position) {
    this.isOver = position >= this.length;
    if (this.isBroken || this.isOver) {
      this.audio.pause();
      return;
    }
    if (Math.abs(this.audio.currentTime - position) > AUDIBLE_DRIFT) this.audio.currentTime = position;
    if (!this.audio.paused) return;
    this.audio.play().catch((error) => {
      // Otherwise by a pause that comes before the sound, or for a broken file, which has its note.
      if (error.name === "NotAllowedError") this.player.pause();
    });
  }

  keepTime(position) {
    const { audio } = this;
    if (audio.paused || audio.seeking) return;
    const drift = audio.currentTime - position;
    if (Math.abs(drift) > LARGE_DRIFT) audio.currentTime = position;
    const correction = Math.min(MAX_CORRECTION, 2 * Math.abs(drift)) * Math.sign(drift);
    audio.playbackRate = Math.abs(drift) > AUDIBLE_DRIFT ? 1 - correction : 1;
  }

  setAudible(isAudible) {
    this.audio.muted = !isAudible;
    this.item.classList.toggle("silent", !isAudible);
  }

  paint(position, length) {
    if (!this.wave) return;
    // A shorter stem takes its part of the width.
    const part = length && this.length ? this.length / length : 1;
    const share = Math.min(1, position / (part * length)) || 0;
    this.drawn.style.width = this.played.style.width = `${100 * part}%`;
    this.played.style.clipPath = `inset(0 ${100 - 100 * share}% 0 0)`;
  }
}

function toggle(word, name, set, player) {
  const button = element("button", "switch");
  button.type = "button";
  button.textContent = word;
  button.setAttribute("aria-label", `${word} ${name}`);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    const isOn = button.getAttribute("aria-pressed") !== "true";
    button.setAttribute("aria-pressed", String(isOn));
    set(isOn);
    player.mix();
  });
  return button;
}

function element(tag, name = "") {
  const made = document.createElement(tag);
  made.className = name;
  return made;
}

function clock(seconds) {
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function setNote(item, text) {
  const note = item.querySelector(".note") ?? element("p", "note");
  note.textContent = text;
  item.querySelector(".stem").after(note);
  return note;
}

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

function waveShape(levels, loudest) {
  // Quiet parts are drawn larger: the ear hears them, so the eye should see them.
  const heights = Array.from(levels, (level) => Math.max(0.5, 19 * Math.pow(level / loudest, 0.7)));
  const lines = heights.map(
    (height, index) => `M${index + 0.5} ${(20 - height).toFixed(1)}v${(2 * height).toFixed(1)}`,
  );
  return { d: lines.join(""), width: levels.length };
}

function drawWave({ d, width }) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", `0 0 ${width} 40`);
  svg.setAttribute("preserveAspectRatio", "none");
  const path = document.createElementNS(space, "path");
  path.setAttribute("d", d);
  svg.append(path);
  return svg;
}
