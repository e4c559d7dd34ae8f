/** Loads the pages of the list of conversations, and of the archive. */

const PAGE = 50;

export class ListLoader {
  #isLoading = false;
  #isLoadingArchive = false;
  #api;
  #conversations;
  #people;
  #loader;

  /**
   * @param {import("../chat_model.js").Parts} parts
   * @param {import("./conversation_loader.js").ConversationLoader} loader
   */
  constructor({ api, conversations, people }, loader) {
    this.#api = api;
    this.#conversations = conversations;
    this.#people = people;
    this.#loader = loader;
  }

  /** Whether the list is loaded, and no further page of it is being loaded. */
  get isSettled() {
    return this.#conversations.isListLoaded && !this.#isLoading;
  }

  /**
   * The first page of the list, or the one before a cursor, or a page of the archive. Does not apply it.
   * @param {string} [before]
   * @param {{ limit?: number | undefined, archived?: 0 | 1 }} [options] limit: 200 at most
   */
  async page(before, { limit = PAGE, archived = 0 } = {}) {
    const page = await this.#api.list({ limit, before, archived });
    return { ...page, isLast: page.rows.length < limit };
  }

  /** Loads the next page of the list. */
  async loadMore() {
    const { isListLoaded, isListComplete, cursor } = this.#conversations;
    if (!isListLoaded || isListComplete || this.#isLoading) return;
    this.#isLoading = true;
    const page = await this.#loader.attempt(this.page(cursor));
    this.#isLoading = false;
    if (!page) return;
    for (const row of page.rows) this.#loader.history.reportGap(this.#people.applyRow(row));
    // Otherwise read again meanwhile.
    if (this.#conversations.cursor === cursor) this.#conversations.addPage(page.rows, page.isLast);
  }

  /** Loads the next page of the archive. */
  async loadMoreArchived() {
    const { cursor, isComplete } = this.#conversations.archive;
    if (isComplete || cursor === undefined || this.#isLoadingArchive) return;
    this.#isLoadingArchive = true;
    const page = await this.#loader.attempt(this.page(cursor, { archived: 1 }));
    this.#isLoadingArchive = false;
    if (!page) return;
    for (const row of page.rows) this.#loader.history.reportGap(this.#people.applyRow(row));
    if (this.#conversations.archive.cursor === cursor) this.#conversations.addArchivePage(page);
  }
}
