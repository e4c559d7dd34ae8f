/** Limits of invitations, and their link. */

export const INVITE_LIMITS = { days: 7, daysMax: 365, uses: 1, usesMax: 1_000 } as const;

/** The sign-up link of an invitation. @param origin such as `https://chat.example.org` */
export function inviteLink(origin: string, token: string): string {
  return `${origin}/signup?invite=${token}`;
}
