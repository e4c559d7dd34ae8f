-- Old code runs on. Which handing-over stored a message: a sender who got no answer from one pod hands the same message to another, and
-- either may store it. The pod that did tells everybody, once; by the ticket it knows that it was it. Null in rows from before.

alter table messages add column ticket int;
