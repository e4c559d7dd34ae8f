/** The one queue that all decoding of images in a pod goes through. */

import { FairQueue } from "./fair_queue.ts";

/** An image of 24 million pixels takes 0.3 s and 100 MB. A user may wait with a few: an album arrives at once. */
const BOUNDS = { concurrency: 2, waiting: 16, client: { keys: 1, waiting: 4 } };

/** Jobs run under a user's name key. */
export class ImageDecoders extends FairQueue {
  constructor() {
    super(BOUNDS);
  }
}
