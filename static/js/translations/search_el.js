/** Greek, for the search of messages. The keys are those of `search_en.js`. */
export default {
  hits: "Μηνύματα",
  hits_found: { one: "Βρέθηκε {count} μήνυμα", other: "Βρέθηκαν {count} μηνύματα" },
  hits_none: "Δεν βρέθηκαν μηνύματα.",
  hits_failed: "Η αναζήτηση στα μηνύματα δεν ολοκληρώθηκε.",
  hits_offline: "Είσαι εκτός σύνδεσης. Για την αναζήτηση στα μηνύματα χρειάζεται δίκτυο.",
  hits_limited: "Έκανες πολλές αναζητήσεις μαζεμένες. Συνεχίζουμε σε {wait}.",
  hits_paused: "Μένουν παλιότερα μηνύματα στα οποία δεν ψάξαμε ακόμα.",
  hits_continue: "Συνέχεια",
};
